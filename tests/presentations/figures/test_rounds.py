"""The rounds kind: windows and shading by hand, what is drawn, nothing clipped, same bytes twice."""

import io

import pandas as pd
import pytest
from matplotlib.figure import Figure

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.presentations.read import parse_experiment
from gradleak.presentations.rounds import Rounds
from gradleak.presentations.write import render_stage

SHOW = {"kind": "rounds", "panel": "model", "window": 2}


def made(models: int = 2, rounds: int = 6, **keys: object) -> tuple[Experiment, StudyData]:
    """Model m in round t, trial i: PSNR 30 - 4 t + i, accuracy 0.1 t, IGSA 10^-t (m + 1)."""
    cells, rows = [], []
    for model in range(models):
        for number in range(rounds):
            for trial in range(2):
                name = f"{model}-{number}-{trial}"
                cells.append({"cell_id": name, "labels": {"model": f"Model-{model}"}})
                key = {"cell_id": name, "image": 0, "restart": 0, "chosen": True, "lpips": 0.0, "model_round": number}
                measured = {"psnr": 30.0 - 4 * number + trial, "model_accuracy": 0.1 * number}
                rows.append(key | measured | {"igsa": 10.0**-number * (model + 1)})
    content = {"title": "Test data", "show": [SHOW | keys], "cells": cells}
    return parse_experiment("exp", content, "plan.json"), StudyData("s", pd.DataFrame(rows))


def points_of(**keys: object) -> pd.DataFrame:
    experiment, data = made(**keys)
    (rounds,) = experiment.show
    assert isinstance(rounds, Rounds)
    return rounds.windows(cell_table(data.results, experiment, rounds.keys, rounds.values))


def test_windows_are_means_of_rounds_and_trials() -> None:
    points = points_of()
    one = points[points["panel"] == "Model-1"]
    assert one[["first", "last", "rounds", "trials"]].to_numpy().tolist() == [[0, 1, 2, 4], [2, 3, 2, 4], [4, 5, 2, 4]]
    assert one["psnr"].tolist() == pytest.approx([28.5, 20.5, 12.5])
    assert one["model_accuracy"].tolist() == pytest.approx([0.05, 0.25, 0.45])
    assert one["igsa"].tolist() == pytest.approx([1.1, 0.011, 0.00011])
    assert one["normalised"].tolist() == pytest.approx([1, (0.011 - 0.00011) / (1.1 - 0.00011), 0])
    assert points_of(log=True)["normalised"].tolist() == pytest.approx([1, 0.5, 0] * 2)


def test_a_window_that_begins_before_the_first_attacked_round_holds_what_there_is() -> None:
    points = points_of(window=4)
    assert points[["first", "last", "rounds"]].iloc[:2].to_numpy().tolist() == [[0, 3, 4], [4, 5, 2]]


def test_high_risk_by_the_midpoint_and_by_a_threshold() -> None:
    midway = points_of()
    assert midway["threshold"].tolist() == pytest.approx([20.5] * 6)
    assert midway["high_risk"].tolist() == [True, True, False] * 2
    given = points_of(risk=25)
    assert given["high_risk"].tolist() == [True, False, False] * 2
    assert not points_of(risk=40)["high_risk"].any()


def drawn(**keys: object) -> Figure:
    points = points_of(**keys)
    keys.pop("models", None)
    return Rounds(**(SHOW | keys)).draw(points)


def test_grey_spans_the_rounds_of_high_risk() -> None:
    with style.theme():
        figure = drawn()
    spans = [patch.get_extents().transformed(figure.axes[0].transData.inverted()) for patch in figure.axes[0].patches]
    assert [(span.x0, span.x1) for span in spans] == [pytest.approx((-0.5, 1.5)), pytest.approx((1.5, 3.5))]


@pytest.mark.parametrize("models", [1, 2, 3, 5, 9])
def test_no_text_is_clipped_and_there_is_one_legend(models: int) -> None:
    with style.theme():
        figure = drawn(models=models)
        figure.canvas.draw()
        texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
        for axes in figure.axes:
            low, high = axes.get_xlim()
            ticks = [tick for tick in axes.get_xticklabels() if low <= tick.get_position()[0] <= high]
            texts += [axes.title, axes.xaxis.label, *ticks]
        boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    assert len(figure.axes) == 2 * models
    assert len(figure.legends) == 1
    for box in boxes:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1
    limits = {axes.get_ylim() for axes in figure.axes[1::2]}
    assert len(limits) == 1


def test_files() -> None:
    experiment, data = made()
    files = render_stage("figures", experiment, data)
    assert list(files) == ["exp.pdf", "exp.png", "exp.csv", "exp.txt"]
    assert files == render_stage("figures", experiment, data)
    table = pd.read_csv(io.BytesIO(files["exp.csv"]))
    assert len(table) == 6
    assert table["high_risk"].tolist() == [True, True, False] * 2
    assert b"at least midway between the panel's least and greatest mean" in files["exp.txt"]
    experiment, data = made(risk=15)
    assert b"rounds where PSNR (dB) is at least 15." in render_stage("figures", experiment, data)["exp.txt"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"window": 0}, "window: .*greater than or equal to 1"), ({"treshold": 3}, "treshold: unknown key; known: kind")],
)
def test_each_mistake_is_one_line(keys: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        made(**keys)
    assert "\n" not in str(caught.value)


def test_results_without_igsa_say_so() -> None:
    experiment, data = made()
    with pytest.raises(UserError, match="unknown column 'igsa'"):
        render_stage("figures", experiment, StudyData("s", data.results.drop(columns="igsa")))
