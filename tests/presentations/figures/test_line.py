"""The line kind: plotted numbers by hand, what is drawn, nothing clipped or overlapping, same bytes twice."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from core_cases import gradleak
from matplotlib.figure import Figure
from PIL import Image

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.presentations.line import Line
from gradleak.presentations.read import read_plan
from gradleak.presentations.write import render_stage
from gradleak.study.plan import Plan

Make = Callable[..., Experiment]
LINE = {"kind": "line", "x": "dataset_resolution", "hue": "variant", "leak_line": 0.1, "log_x": 2}


def draw_line(data: StudyData, experiment: Experiment, **keys: object) -> Figure:
    line = Line(**(LINE | keys))
    cells = cell_table(data.results, experiment, line.keys, [line.y])
    return line.draw(cells, line.points(cells))


def test_plotted_numbers(data: StudyData, make_experiment: Make) -> None:
    files = render_stage("figures", make_experiment(LINE), data)
    points = pd.read_csv(io.BytesIO(files["exp.csv"]))
    assert len(points) == 9
    first = points.iloc[0]
    assert (first["variant"], first["dataset_resolution"], first["trials"]) == ("$G_O$", 32, 3)
    assert first[["value", "std", "lower", "upper"]].tolist() == pytest.approx([0.06, 0.01, 0.05, 0.07])
    assert b"mean of 3 trials" in files["exp.txt"]
    assert b"from the least to the greatest" in files["exp.txt"]


def test_interval_and_no_spread(data: StudyData, make_experiment: Make) -> None:
    cells = cell_table(data.results, make_experiment(), ["variant", "dataset_resolution"], ["lpips"])
    interval = Line(**LINE | {"spread": "interval"}).points(cells).iloc[0]
    # Student's t with two degrees of freedom: 4.3027.
    assert interval["upper"] - interval["value"] == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)
    none = Line(**LINE | {"spread": "none"}).points(cells)
    assert none[["lower", "upper"]].isna().all(axis=None)


def test_axes(data: StudyData, make_experiment: Make) -> None:
    with style.theme():
        axes = draw_line(data, make_experiment(), xlabel="Resolution (pixels)").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["32", "64", "128"]
    assert axes.get_xlabel() == "Resolution (pixels)"
    assert axes.get_ylabel() == "LPIPS"
    assert axes.get_ylim()[0] == 0
    assert axes.get_xscale() == "log"
    assert [line.get_linestyle() for line in axes.lines][-1] == "--"
    assert axes.lines[-1].get_ydata()[0] == 0.1


@pytest.mark.parametrize("keys", [{}, {"log_x": None}, {"hue": None}, {"x": "variant", "hue": None, "log_x": None}])
@pytest.mark.parametrize("width", ["column", "page"])
def test_no_text_is_clipped_or_overlaps(data: StudyData, make_experiment: Make, keys: dict, width: str) -> None:
    cells = None
    if keys.get("hue", "") is None and "x" not in keys:
        cells = [cell for cell in make_experiment().cells["cell_id"] if cell.startswith("v0")]
        cells = [{"cell_id": cell, "labels": {"variant": "a"}} for cell in cells]
    with style.theme():
        figure = draw_line(data, make_experiment(cells=cells), **keys, width=width)
        figure.canvas.draw()
        axes = figure.axes[0]
        ticks = [text for text in axes.get_yticklabels() if text.get_position()[1] <= axes.get_ylim()[1]]
        texts = [*axes.get_xticklabels(), *ticks, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        boxes += [legend.get_window_extent() for legend in figure.legends]
    for i, box in enumerate(boxes):
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= figure.bbox.x1 + 0.5
        assert box.y1 <= figure.bbox.y1 + 0.5
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_every_category_has_its_label(data: StudyData, make_experiment: Make) -> None:
    ids = make_experiment().cells["cell_id"]
    for names in (["None", "R ReLU", "I kernel to 4"], [f"R MaxPool2d of layer {i}" for i in range(9)]):
        cells = [{"cell_id": cell, "labels": {"mod": names[i % len(names)]}} for i, cell in enumerate(ids)]
        with style.theme():
            figure = draw_line(data, make_experiment(cells=cells), x="mod", hue=None, log_x=None)
            figure.canvas.draw()
            axes = figure.axes[0]
            boxes = [text.get_window_extent() for text in [*axes.get_xticklabels(), axes.xaxis.label, axes.yaxis.label]]
        assert [text.get_text().replace("\n", " ") for text in axes.get_xticklabels()] == names
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


def test_a_value_without_room_for_its_label_keeps_its_mark(data: StudyData, make_experiment: Make) -> None:
    sizes = [1, 2, 4, 8, 10, 20, 50, 80, 100]
    cells = [
        {"cell_id": cell, "labels": {"n": sizes[i % 9], "lr": [0.1, 0.01][i % 2]}}
        for i, cell in enumerate(make_experiment().cells["cell_id"])
    ]
    with style.theme():
        figure = draw_line(data, make_experiment(cells=cells), x="n", hue="lr", log_x=None)
        axes = figure.axes[0]
    shown = [text.get_text() for text in axes.get_xticklabels()]
    assert (shown[0], shown[-1]) == ("1", "100")
    assert len(shown) < len(sizes)
    assert sorted({*axes.get_xticks(), *axes.get_xticks(minor=True)}) == sizes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Lr = 0.1", "Lr = 0.01"]


def test_many_hues_take_several_lines_of_legend(data: StudyData, make_experiment: Make) -> None:
    ids = make_experiment().cells["cell_id"]
    cells = [
        {"cell_id": cell, "labels": {"variant": f"a long name of a variant {i % 9}"}} for i, cell in enumerate(ids)
    ]
    with style.theme():
        figure = draw_line(data, make_experiment(cells=cells))
        figure.canvas.draw()
        legend = figure.legends[0].get_window_extent()
        assert legend.x0 >= 0
        assert legend.x1 <= figure.bbox.x1
        assert legend.y0 >= figure.axes[0].get_window_extent().y1
    assert len(figure.legends) == 1


def test_same_bytes_twice_and_small(data: StudyData, make_experiment: Make) -> None:
    first, second = (render_stage("figures", make_experiment(LINE), data) for _ in range(2))
    assert first == second
    assert list(first) == ["exp.pdf", "exp.png", "exp.csv", "exp.txt"]
    assert b"CreationDate" not in first["exp.pdf"]
    assert b"Producer" not in first["exp.pdf"]
    assert len(first["exp.png"]) < 1_000_000
    with Image.open(io.BytesIO(first["exp.png"])) as image:
        assert np.round(image.info["dpi"]).tolist() == [300, 300]
        assert "Software" not in image.info
        assert image.size == (round(300 * 3.35), round(300 * 2.35))


def test_settings_of_matplotlib_neither_matter_nor_change(data: StudyData, make_experiment: Make) -> None:
    import matplotlib

    plain = render_stage("figures", make_experiment(LINE), data)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        assert render_stage("figures", make_experiment(LINE), data) == plain
        assert matplotlib.rcParams["font.size"] == 20


def test_unknown_column(data: StudyData, make_experiment: Make) -> None:
    with pytest.raises(UserError, match="unknown column 'resolution'; labels: variant; columns: image"):
        render_stage("figures", make_experiment(LINE | {"x": "resolution"}), data)


def test_missing_cell(data: StudyData, make_experiment: Make) -> None:
    partial = StudyData("s", data.results.iloc[1:])
    with pytest.raises(UserError, match="no results for cell v0-r32-t0"):
        render_stage("figures", make_experiment(LINE), partial)


def test_lpips_over_iterations_of_a_study_that_has_the_shared_experiment(tmp_path: Path) -> None:
    """Cells of other numbers of iterations are other attacks: the line joins them by their label."""
    (tmp_path / "studies").mkdir()
    shutil.copy(Path(__file__).parents[3] / "workflow/experiments.yaml", tmp_path)
    study = tmp_path / "studies/mine.yaml"
    study.write_text("""
title: Mine
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 2, layers: 1}}
  attack: {name: gia-o}
trials: {count: 2}
experiments:
  iterations:
    cells:
      - {labels: {setting: "$N$ = 1"}, axes: [{attack.descent.iterations: [800, 50, 200]}]}
      - {labels: {setting: "$N$ = 2"}, set: {client.samples: 2}, axes: [{attack.descent.iterations: [50, 200, 3200]}]}
""")
    (tmp_path / "config.yaml").write_text("device: cpu")
    ran = gradleak("plan", "--study", study, "--config", tmp_path / "config.yaml", "--out", tmp_path / "plan.json")
    assert ran.code == 0, ran.err
    plan = Plan.read(tmp_path / "plan.json")
    rows = [
        {**cell.factors(), "cell_id": cell.id, "restart": 0, "chosen": True, "image": image, "lpips": 0.1}
        for cell in plan.cells.values()
        for image in cell.victims
    ]
    data = StudyData("mine", pd.DataFrame(rows))
    experiment = read_plan(tmp_path / "plan.json")[1]["iterations"]
    (line,) = [entry for entry in experiment.show if isinstance(entry, Line)]
    points = pd.read_csv(io.BytesIO(line.render(experiment, data)[".csv"]))
    drawn = points.groupby("setting")["attack_descent_iterations"].apply(sorted).to_dict()
    assert drawn == {"$N$ = 1": [50, 200, 800], "$N$ = 2": [50, 200, 3200]}
    with style.theme():
        cells = cell_table(data.results, experiment, line.keys, [line.y])
        axes = line.draw(cells, line.points(cells)).axes[0]
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "Iterations")
    first = axes.get_lines()[0]
    assert list(np.asarray(first.get_xdata())) == [50, 200, 800]
