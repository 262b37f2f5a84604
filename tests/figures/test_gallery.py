"""The gallery kind: which victim is shown, sharing of victims, what is drawn, same bytes twice, file size."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gradleak.cli.figures import figures
from gradleak.errors import UserError
from gradleak.figures import style
from gradleak.figures.gallery import GallerySpec, draw, gallery_pairs
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.present import render_stage

Make = Callable[..., Experiment]
GALLERY = {"kind": "gallery", "rows": ["variant"], "columns": "dataset_resolution"}
SPEC = GallerySpec(rows=("variant",), columns="dataset_resolution")


def test_lowest_index_that_all_columns_share(data: StudyData, make_experiment: Make) -> None:
    pairs = gallery_pairs(SPEC, make_experiment(), data)
    assert len(pairs) == 9
    assert set(pairs["image"]) == {8}
    assert pairs["lpips"].iloc[0] == pytest.approx(0.05 + 0.02)


def test_another_victim_where_a_column_lacks_the_shared_one(data: StudyData, make_experiment: Make) -> None:
    assert data.images is not None
    lacks = data.images["cell_id"].eq("v0-r64-t2")
    images = data.images.assign(image=data.images["image"].mask(lacks, 30))
    pairs = gallery_pairs(SPEC, make_experiment(), replace(data, images=images))
    first = pairs[pairs["variant"] == "$G_O$"].set_index("dataset_resolution")["image"]
    # Image 9 is in all three columns, image 8 only in two.
    assert first.to_dict() == {32: 9, 64: 9, 128: 9}
    alone = images[~images["cell_id"].isin(["v0-r64-t0", "v0-r64-t1"])]
    results = data.results[data.results["cell_id"].isin(alone["cell_id"])]
    cells = [{"cell_id": cell, "labels": {"variant": "a"}} for cell in results["cell_id"] if cell.startswith("v0")]
    pairs = gallery_pairs(SPEC, make_experiment(cells=cells), StudyData("s", results, alone))
    assert pairs.set_index("dataset_resolution")["image"].to_dict() == {32: 8, 64: 30, 128: 8}


def test_a_heading_wider_than_its_columns_is_not_clipped(data: StudyData, make_experiment: Make) -> None:
    spec = GallerySpec(columns="one", column_label="A heading that is much wider than the one column below it")
    cells = [{"cell_id": cell, "labels": {"one": 1}} for cell in make_experiment().cells["cell_id"]]
    with style.theme():
        figure = draw(spec, gallery_pairs(spec, make_experiment(cells=cells), data))
        figure.canvas.draw()
        for text in figure.texts:
            box = text.get_window_extent()
            assert box.x0 >= -0.5
            assert box.x1 <= figure.bbox.x1 + 0.5


def test_pictures_are_drawn_with_victims_once_and_whole_pixels(data: StudyData, make_experiment: Make) -> None:
    pairs = gallery_pairs(SPEC, make_experiment(), data)
    with style.theme():
        figure = draw(SPEC, pairs)
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.texts]
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("Victim") == 1
    assert len(figure.axes) == 3 + 9
    assert {"0.0700", "32", "$G_L$", "Dataset resolution"} <= set(texts)
    assert all(axes.images[0].get_interpolation() == "nearest" for axes in figure.axes)
    with Image.open(io.BytesIO(pairs["truth_png"].iloc[0])) as truth:
        assert np.array_equal(figure.axes[0].images[0].get_array(), np.asarray(truth))
    tiles = [axes.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= figure.bbox.x1 + 0.5
        assert box.y1 <= figure.bbox.y1 + 0.5
        assert not any(box.overlaps(other) for other in [*boxes[i + 1 :], *tiles])


def test_row_groups_with_other_victims_show_them(data: StudyData, make_experiment: Make) -> None:
    assert data.images is not None
    images = data.images.copy()
    own = images["cell_id"].str.startswith("v1")
    images.loc[own, "truth_png"] = images.loc[own, "reconstruction_png"]
    with style.theme():
        figure = draw(SPEC, gallery_pairs(SPEC, make_experiment(), replace(data, images=images)))
    assert [text.get_text() for text in figure.texts].count("Victim") == 3


def test_without_rows(data: StudyData, make_experiment: Make) -> None:
    spec = GallerySpec(columns="variant")
    pairs = gallery_pairs(spec, make_experiment(), data)
    with style.theme():
        figure = draw(spec, pairs)
    assert {"Victim", "Reconstruction"} <= {text.get_text() for text in figure.texts}


def test_same_bytes_twice_and_small(data: StudyData, make_experiment: Make) -> None:
    first, second = (render_stage("figures", make_experiment(GALLERY), data) for _ in range(2))
    assert first == second
    assert list(first) == ["exp_gallery.pdf", "exp_gallery.png", "exp_gallery.txt"]
    # Noise, which no PNG compresses: the resolution gives way.
    assert len(first["exp_gallery.png"]) < 1_000_000
    assert b"CreationDate" not in first["exp_gallery.pdf"]


def test_errors(data: StudyData, make_experiment: Make) -> None:
    assert data.images is not None
    with pytest.raises(UserError, match=r"needs images\.parquet"):
        gallery_pairs(SPEC, make_experiment(), replace(data, images=None))
    with pytest.raises(UserError, match="no images for cell v0-r32-t0"):
        gallery_pairs(SPEC, make_experiment(), replace(data, images=data.images.iloc[1:]))
    with pytest.raises(UserError, match="unknown column 'rows'"):
        gallery_pairs(GallerySpec(rows=("rows",), columns="variant"), make_experiment(), data)
    broken = data.images.assign(truth_png=b"no picture")
    with pytest.raises(UserError, match="truth_png of cell v0-r32-t2 is not a PNG"):
        render_stage("figures", make_experiment(GALLERY), replace(data, images=broken))


def test_command(data: StudyData, make_experiment: Make, tmp_path: Path) -> None:
    assert data.images is not None
    data.results.to_parquet(tmp_path / "results.parquet")
    data.images.to_parquet(tmp_path / "images.parquet")
    cells = [{"cell_id": cell, "labels": {"variant": "a"}} for cell in make_experiment().cells["cell_id"]]
    table = {"kind": "table", "columns": "dataset_resolution"}
    experiment = {"title": "t", "show": [GALLERY, table], "cells": cells}
    (tmp_path / "plan.json").write_text(json.dumps({"study": "s", "experiments": {"exp": experiment}}))
    options = [part for key in ("results", "images") for part in (f"--{key}", f"{tmp_path}/{key}.parquet")]
    options += ["--plan", f"{tmp_path}/plan.json", "--out", f"{tmp_path}/out", "exp"]
    result = CliRunner().invoke(figures, options, catch_exceptions=False)
    names = ["exp_gallery.pdf", "exp_gallery.png", "exp_gallery.txt"]
    assert [Path(line).name for line in result.output.split()] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    with pytest.raises(UserError, match=r"needs images\.parquet"):
        CliRunner().invoke(figures, options[:2] + options[4:], catch_exceptions=False)
    assert "Example" in CliRunner().invoke(figures, ["--help"]).output
