"""The gallery kind: which victims are shown, beside or above, room for all texts, same bytes twice, file size."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.cli.outputs import figures
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.presentations.gallery import Gallery
from gradleak.presentations.gallery_lines import VICTIM
from gradleak.presentations.write import render_stage

Make = Callable[..., Experiment]
# At three resolutions, one image is three pictures; three variants attack the same pictures.
GALLERY = {"kind": "gallery", "rows": ["variant"], "columns": "dataset_resolution"}
ABOVE = Gallery(rows=("variant",), columns="dataset_resolution")
ASIDE = Gallery(rows=("dataset_resolution",), columns="variant")


def drawn(gallery: Gallery, experiment: Experiment, data: StudyData) -> Figure:
    with style.theme():
        figure = gallery.draw(gallery.pairs(experiment, data))
        figure.canvas.draw()
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def check_room(figure: Figure) -> None:
    """No text leaves the figure or lies on another text or a picture."""
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    tiles = [axes.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= figure.bbox.x1 + 0.5
        assert box.y1 <= figure.bbox.y1 + 0.5
        assert not any(box.overlaps(other) for other in [*boxes[i + 1 :], *tiles])


def test_first_victims_that_all_columns_share(data: StudyData, make_experiment: Make) -> None:
    pairs = ABOVE.pairs(make_experiment(), data)
    assert len(pairs) == 3 * 3 * 2
    assert pairs.groupby(VICTIM)["image"].unique().map(list).to_dict() == {0: [10], 1: [9]}
    assert pairs["lpips"].iloc[0] == pytest.approx(0.05)
    one = ABOVE.model_copy(update={"victims": 1}).pairs(make_experiment(), data)
    assert set(one["image"]) == {10}
    assert len(ABOVE.model_copy(update={"victims": 9}).pairs(make_experiment(), data)) == 27


def test_first_positions_of_a_batch(data: StudyData, make_experiment: Make) -> None:
    assert data.images is not None
    batch = data.images[data.images["cell_id"].str.startswith("v0-r32")].assign(cell_id="v0-r32-t0")
    images = batch.assign(image=[4, 2, 3], position=[2, 0, 1])
    results = data.results[data.results["cell_id"] == "v0-r32-t0"]
    experiment = make_experiment(cells=[{"cell_id": "v0-r32-t0", "labels": {"variant": "a"}}])
    pairs = Gallery(columns="variant").pairs(experiment, StudyData("s", results, images))
    assert pairs["image"].tolist() == [2, 3]


def test_another_victim_where_a_column_lacks_the_shared_one(data: StudyData, make_experiment: Make) -> None:
    assert data.images is not None
    lacks = data.images["cell_id"].eq("v0-r64-t0")
    images = data.images.assign(image=data.images["image"].mask(lacks, 30))
    pairs = ABOVE.pairs(make_experiment(), replace(data, images=images))
    # Images 9 and 8 are in all three columns, image 10 only in two.
    assert set(pairs[pairs["variant"] == "$G_O$"]["image"]) == {9, 8}
    alone = images[~images["cell_id"].isin(["v0-r64-t1", "v0-r64-t2"])]
    results = data.results[data.results["cell_id"].isin(alone["cell_id"])]
    cells = [{"cell_id": cell, "labels": {"variant": "a"}} for cell in results["cell_id"] if cell.startswith("v0")]
    pairs = ABOVE.pairs(make_experiment(cells=cells), StudyData("s", results, alone))
    found = {key: group["image"].tolist() for key, group in pairs.groupby("dataset_resolution")}
    assert found == {32: [10, 9], 64: [30], 128: [10, 9]}


def test_shared_victims_stand_once_to_the_left(data: StudyData, make_experiment: Make) -> None:
    figure = drawn(ASIDE, make_experiment(), data)
    check_room(figure)
    found = texts(figure)
    assert found.count("Victim") == 1
    assert {"Variant", "$G_L$", "Dataset resolution = 32", "0.0500"} <= set(found)
    # A line per resolution and victim: the victim and three reconstructions.
    assert len(figure.axes) == 3 * 2 * 4
    lines = {round(axes.get_window_extent().y0) for axes in figure.axes}
    assert len(lines) == 6
    assert all(axes.images[0].get_interpolation() == "nearest" for axes in figure.axes)
    assert data.images is not None
    left = min(figure.axes, key=lambda axes: (axes.get_window_extent().x0, -axes.get_window_extent().y0))
    with Image.open(io.BytesIO(data.images["truth_png"].iloc[0])) as truth:
        assert np.array_equal(left.images[0].get_array(), np.asarray(truth))


def test_other_victims_stand_above(data: StudyData, make_experiment: Make) -> None:
    figure = drawn(ABOVE, make_experiment(), data)
    check_room(figure)
    # One line per victim, which the three variants share.
    assert texts(figure).count("Victim") == texts(figure).count("$G_L$") == 2
    assert len(figure.axes) == 2 * (3 + 9)
    assert data.images is not None
    images = data.images.copy()
    own = images["cell_id"].str.startswith("v1")
    images.loc[own, "truth_png"] = images.loc[own, "reconstruction_png"]
    assert texts(drawn(ABOVE, make_experiment(), replace(data, images=images))).count("Victim") == 6


def test_without_rows(data: StudyData, make_experiment: Make) -> None:
    cells = [
        {"cell_id": cell, "labels": {"r": cell[1:2]}} for cell in make_experiment().cells["cell_id"] if "r32" in cell
    ]
    aside = drawn(Gallery(columns="r"), make_experiment(cells=cells), data)
    assert "Reconstruction" not in texts(aside)
    assert len(aside.axes) == 2 * 4
    cells = [
        cell | {"labels": {"v": 1}} for cell in make_experiment().cells.to_dict("records") if cell["cell_id"][1] == "0"
    ]
    above = drawn(Gallery(columns="dataset_resolution"), make_experiment(cells=cells), data)
    assert texts(above).count("Reconstruction") == 2
    for figure in (aside, above):
        check_room(figure)


@pytest.mark.parametrize("columns", [1, 12])
def test_long_texts_have_room(data: StudyData, make_experiment: Make, columns: int) -> None:
    ids = [cell for cell in make_experiment().cells["cell_id"] if cell.endswith("t0") and "r32" in cell]
    words = "I padding of the second layer"
    cells = [
        {"cell_id": cell, "labels": {"column": f"{words} {j}", "row": f"An attack with a rather long name, number {i}"}}
        for i, cell in enumerate(ids)
        for j in range(columns)
    ]
    title = "A title that is much wider than the one column that stands below it"
    gallery = Gallery(rows=("row",), columns="column", column_label=title)
    figure = drawn(gallery, make_experiment(cells=cells), data)
    check_room(figure)
    assert figure.get_size_inches()[0] <= style.WIDTHS["page"] + 0.05


def centre(axes) -> tuple[float, float]:
    box = axes.get_window_extent()
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def test_victims_beside_each_reconstruction(data: StudyData, make_experiment: Make) -> None:
    gallery = ABOVE.model_copy(update={"place": "beside", "victims": 1})
    figure = drawn(gallery, make_experiment(), data)
    check_room(figure)
    assert "Victim" not in texts(figure)
    # Three variants at three resolutions, each a victim and a reconstruction.
    assert len(figure.axes) == 3 * 3 * 2
    assert data.images is not None
    first = data.images.iloc[0]
    for column, png in (("truth_png", 0), ("reconstruction_png", 1)):
        line = sorted(figure.axes, key=lambda axes: (-round(centre(axes)[1]), centre(axes)[0]))
        with Image.open(io.BytesIO(first[column])) as picture:
            assert np.array_equal(line[png].images[0].get_array(), np.asarray(picture))
    # The LPIPS stands under the reconstruction.
    score = next(text for text in figure.texts if text.get_text() == "0.0500").get_window_extent()
    assert (score.x0 + score.x1) / 2 == pytest.approx(centre(line[1])[0], abs=1)
    files = render_stage("figures", make_experiment(GALLERY | {"place": "beside"}), data)
    assert files["exp_gallery.txt"].startswith(b"Test data. Victims beside their reconstructions")


@pytest.mark.parametrize("place", ["auto", "beside"])
def test_panels_stand_side_by_side(data: StudyData, make_experiment: Make, place: str) -> None:
    cells = make_experiment().cells.to_dict("records")
    labelled = [
        {"cell_id": cell["cell_id"], "labels": {"variant": cell["variant"], "size": f"{cell['cell_id'][4:6]} pixels"}}
        for cell in cells
    ]
    gallery = Gallery(panels="size", columns="variant", victims=3, place=place)
    figure = drawn(gallery, make_experiment(cells=labelled), data)
    check_room(figure)
    found = texts(figure)
    assert [text for text in found if "pixels" in text] == ["32 pixels", "64 pixels", "12 pixels"]
    assert found.count("$G_L$") == 3
    assert found.count("Victim") == (3 if place == "auto" else 0)
    lines = {round(centre(axes)[1]) for axes in figure.axes}
    assert len(lines) == 3
    assert len(figure.axes) == 3 * 3 * (4 if place == "auto" else 6)
    assert figure.get_size_inches()[0] <= style.WIDTHS["page"] + 0.05


def test_panels_have_their_own_columns_and_share_row_labels(data: StudyData, make_experiment: Make) -> None:
    cells = []
    for cell in make_experiment().cells["cell_id"]:
        variant, resolution, trial = cell.split("-")
        if trial != "t2" and resolution == "r32" and variant != "v2":
            domain = {"v0": "ID", "v1": "OOD"}[variant]
            labels = {"domain": domain, "pair": f"pair {trial}", "source": {"t0": "Places", "t1": "Styles"}[trial]}
            cells.append({"cell_id": cell, "labels": labels})
    gallery = Gallery(panels="source", rows=("domain",), columns="pair", place="beside", caption="source")
    figure = drawn(gallery, make_experiment(cells=cells), data)
    check_room(figure)
    found = texts(figure)
    assert (found.count("ID"), found.count("OOD"), found.count("pair t0")) == (1, 1, 1)
    # As the title of its panel, and under two victims.
    assert found.count("Places") == found.count("Styles") == 3
    assert len(figure.axes) == 8


def test_caption_under_each_victim(data: StudyData, make_experiment: Make) -> None:
    gallery = ASIDE.model_copy(update={"caption": "dataset_resolution", "names": {"64": "sixty-four"}})
    figure = drawn(gallery, make_experiment(), data)
    check_room(figure)
    # Under two victims, and at their row group.
    assert texts(figure).count("sixty-four") == 3
    above = ABOVE.model_copy(update={"caption": "dataset_resolution", "victims": 1, "column_label": "Size"})
    figure = drawn(above, make_experiment(), data)
    check_room(figure)
    # Under the victim that the variants share, and over its column.
    assert texts(figure).count("32") == 2


def test_labels_may_be_called_as_this_module_calls_its_own(data: StudyData, make_experiment: Make) -> None:
    cells = [
        {"cell_id": cell, "labels": {"victim": cell[-2:], "trial": cell[:2], "caption": "c"}}
        for cell in make_experiment().cells["cell_id"]
        if "r32" in cell
    ]
    gallery = Gallery(rows=("victim",), columns="trial", caption="caption")
    figure = drawn(gallery, make_experiment(cells=cells), data)
    assert {"t0", "t1", "t2", "v0", "v1", "v2", "c"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"panels": "variant"}, "panels, rows and columns must not repeat a name"),
        ({"panels": "a", "column_label": "b"}, "column_label stands where panels have their names"),
        ({"place": "below"}, "place: .*found 'below'"),
    ],
)
def test_wrong_entries(make_experiment: Make, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_experiment(GALLERY | change)


def test_same_bytes_twice_and_small(data: StudyData, make_experiment: Make) -> None:
    first, second = (render_stage("figures", make_experiment(GALLERY), data) for _ in range(2))
    assert first == second
    assert list(first) == ["exp_gallery.pdf", "exp_gallery.png", "exp_gallery.txt"]
    # Noise, which no PNG compresses: the resolution gives way.
    assert len(first["exp_gallery.png"]) < 1_000_000
    assert b"CreationDate" not in first["exp_gallery.pdf"]
    assert first["exp_gallery.txt"].startswith(b"Test data. Victims above their reconstructions")
    aside = render_stage("figures", make_experiment(GALLERY | {"rows": [], "columns": "variant"}), data)
    assert b"Victims to the left of" in aside["exp_gallery.txt"]


def test_errors(data: StudyData, make_experiment: Make) -> None:
    assert data.images is not None
    with pytest.raises(UserError, match=r"needs images\.parquet"):
        ABOVE.pairs(make_experiment(), replace(data, images=None))
    with pytest.raises(UserError, match="no images for cell v0-r32-t0"):
        ABOVE.pairs(make_experiment(), replace(data, images=data.images.iloc[1:]))
    with pytest.raises(UserError, match="unknown column 'rows'"):
        Gallery(rows=("rows",), columns="variant").pairs(make_experiment(), data)
    broken = data.images.assign(truth_png=b"no picture")
    with pytest.raises(UserError, match="truth_png of cell v0-r32-t0 is not a PNG"):
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
