"""The bars kind: drawn numbers, shades by position, the baseline's line, notes, same bytes twice."""

import io
from collections.abc import Callable

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table, summarise
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.presentations.bars import Bars
from gradleak.presentations.write import render_stage

Make = Callable[..., Experiment]
BARS = {"kind": "bars", "x": "dataset_resolution", "panels": "variant", "baseline": "32", "leak_line": 0.1}


def draw_bars(data: StudyData, experiment: Experiment, **keys: object) -> Figure:
    bars = Bars.model_validate(BARS | keys)
    cells = cell_table(data.results, experiment, bars.keys, [bars.y])
    with style.theme():
        return bars.draw(cells, summarise(cells, bars.keys, [bars.y]))


def test_drawn_numbers(data: StudyData, make_experiment: Make) -> None:
    files = render_stage("figures", make_experiment(BARS), data)
    table = pd.read_csv(io.BytesIO(files["exp_bars.csv"]))
    assert table["value"].tolist() == pytest.approx(
        [0.05 * (i + 1) * step + 0.01 for i in range(3) for step in (1, 2, 3)]
    )
    figure = draw_bars(data, make_experiment())
    heights = [bar.get_height() for axes in figure.axes for bar in axes.patches]
    assert heights == pytest.approx(table["value"].tolist())
    assert [len(axes.collections[0].get_offsets()) for axes in figure.axes] == [3, 3, 3]
    assert [axes.get_title() for axes in figure.axes] == ["$G_O$", "$G_O + p_{TV}$", "$G_L$"]
    assert files == render_stage("figures", make_experiment(BARS), data)


def test_deeper_positions_are_darker_and_the_baseline_is_grey(data: StudyData, make_experiment: Make) -> None:
    axes = draw_bars(data, make_experiment()).axes[0]
    baseline, *others = [bar.get_facecolor() for bar in axes.patches]
    assert to_hex(baseline) == "#555555"
    brightness = [sum(colour[:3]) for colour in others]
    assert brightness == sorted(brightness, reverse=True)
    assert [line.get_ydata()[0] for line in axes.lines] == pytest.approx([0.06, 0.1])


def test_note_over_every_bar(data: StudyData, make_experiment: Make) -> None:
    data.results["model_skips"] = data.results["dataset_resolution"] * 2
    axes = draw_bars(data, make_experiment(), note="model_skips").axes[0]
    assert [text.get_text() for text in axes.texts] == ["64", "128", "256"]


def test_panels_in_rows(data: StudyData, make_experiment: Make) -> None:
    figure = draw_bars(data, make_experiment(), columns=2)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == ["$G_O$", "$G_O + p_{TV}$", "$G_L$"]
    first, second, third = [axes.get_position() for axes in shown]
    assert first.y0 == pytest.approx(second.y0)
    assert third.y1 < first.y0
    assert first.x0 == pytest.approx(third.x0)
    assert [bool(axes.get_ylabel()) for axes in shown] == [True, False, True]


def test_bars_of_an_unknown_column(data: StudyData, make_experiment: Make) -> None:
    with pytest.raises(UserError, match="cut"):
        render_stage("figures", make_experiment(BARS | {"x": "cut"}), data)
