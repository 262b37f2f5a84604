"""The curve kind: entries and fits by hand, what is drawn where, nothing clipped, errors in one line."""

import io
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.logit import LEAST, product, slope
from gradleak.errors import UserError
from gradleak.presentations import style, theorem42
from gradleak.presentations.curve import Curve
from gradleak.presentations.read import parse_experiment
from gradleak.presentations.write import render_stage

CURVE = {
    "kind": "curve",
    "colour": ["model", "client_lr"],
    "marker": "client_steps",
    "leak_line": 0.1,
    "angle": True,
    "headings": {"client_lr": "$\\eta$", "client_steps": "Local steps $U$"},
}
MODELS, RATES, STEPS = ["ConvNet", "ResNet-18"], [0.01, 0.03, 0.1], [1, 2, 4, 8, 16, 32, 64]
COSINES = {1: 1.0, 2: 0.96, 4: 0.92, 8: 0.87, 16: 0.78, 32: 0.62, 64: 0.4}


def cell_id(model: str, rate: float, steps: int, trial: int) -> str:
    return f"{model}-{rate:g}-{steps}-{trial}"


@pytest.fixture
def data() -> StudyData:
    """LPIPS 0.3 - 0.25 cosine, 0.01 more in trial 1 than in trial 0; ResNets have a cosine less by 0.01."""
    rows = [
        {
            **{"cell_id": cell_id(model, rate, steps, trial), "image": trial, "restart": 0, "chosen": True},
            **{"model_name": model, "client_lr": rate, "client_steps": steps},
            "update_cosine": (cosine := COSINES[steps] - 0.01 * MODELS.index(model)),
            "lpips": 0.3 - 0.25 * cosine + 0.01 * trial,
            "client_diverged": True if (model, rate, steps) == ("ConvNet", 0.1, 64) else None,
        }
        for model in MODELS
        for rate in RATES
        for steps in STEPS
        for trial in range(2)
    ]
    return StudyData("test_study", pd.DataFrame(rows))


@pytest.fixture
def make_experiment() -> Callable[..., Experiment]:
    def make(*show: dict) -> Experiment:
        cells = [
            {"cell_id": cell_id(model, rate, steps, trial), "labels": {"model": model}}
            for model in MODELS
            for rate in RATES
            for steps in STEPS
            for trial in range(2)
        ]
        return parse_experiment("exp", {"title": "Test data", "show": list(show), "cells": cells}, "plan.json")

    return make


Make = Callable[..., Experiment]


def drawn(data: StudyData, experiment: Experiment, **keys: object) -> Figure:
    curve = Curve(**(CURVE | keys))
    cells = curve.cells(experiment, data)
    return curve.draw(cells, curve.points(cells))


def test_entries_are_means_over_trials(data: StudyData, make_experiment: Make) -> None:
    files = render_stage("figures", make_experiment(CURVE), data)
    assert list(files) == [f"exp_curve{ending}" for ending in (".pdf", ".png", ".csv", ".txt", "_fit.csv")]
    rows = pd.read_csv(io.BytesIO(files["exp_curve.csv"]))
    assert list(rows) == [
        *("model", "client_lr", "client_steps", "update_cosine", "lpips", "std", "fit", "trials", "diverged")
    ]
    assert len(rows) == 42
    first = rows.iloc[1]
    assert first[["client_steps", "update_cosine", "lpips", "trials"]].tolist() == pytest.approx([2, 0.96, 0.065, 2])
    assert first["std"] == pytest.approx(0.01 / math.sqrt(2), abs=1e-6)
    # y falls with x exactly: the curve passes through every entry.
    assert rows["fit"].tolist() == pytest.approx(rows["lpips"].tolist(), abs=1e-6)
    assert rows[rows["diverged"] > 0][["model", "client_lr", "client_steps", "diverged"]].values.tolist() == [
        ["ConvNet", 0.1, 64, 2]
    ]


def test_caption_and_fits_say_how_well_one_curve_holds_all(data: StudyData, make_experiment: Make) -> None:
    data.results.loc[data.results["model_name"] == "ResNet-18", "lpips"] += 0.043
    files = render_stage("figures", make_experiment(CURVE), data)
    fits = pd.read_csv(io.BytesIO(files["exp_curve_fit.csv"]))
    assert fits["n"].tolist() == [42, 7, 7, 7, 7, 7, 7]
    assert fits["model"].tolist() == ["all"] + ["ConvNet"] * 3 + ["ResNet-18"] * 3
    assert fits["rho"].tolist()[1:] == pytest.approx([-1] * 6)
    one = fits.iloc[0]
    assert one["own_residual"] == pytest.approx(0, abs=1e-6)
    assert 0.01 < one["residual"] < 0.04
    assert fits["offset"].tolist()[1:4] == pytest.approx([-fits["offset"].iloc[4]] * 3, abs=1e-6)
    text = files["exp_curve.txt"].decode()
    rho = f"{one['rho']:.2f}".replace("-", "−")
    assert f"over all 42 entries: {rho}; within 6 colours: −1.00 to −1.00." in text
    assert f"a standard deviation of {one['residual']:.4f}, around a curve of its own" in text
    assert f"0.0000, and around its mean {one['sd']:.4f}." in text
    assert "Hollow: the client's local training diverged in at least one trial" in text
    assert "Theorem" not in text


def test_places_colours_markers_and_hollow_points(data: StudyData, make_experiment: Make) -> None:
    with style.theme():
        axes = drawn(data, make_experiment()).axes[0]
    large = [points for points in axes.collections if points.get_sizes()[0] > 10]
    assert len(large) == 42
    faces = {tuple(points.get_facecolors()[0]) for points in large}
    assert len(faces) == 7  # six colours, and white
    (hollow,) = [points for points in large if tuple(points.get_facecolors()[0]) == (1, 1, 1, 1)]
    assert hollow.get_offsets().tolist() == [[pytest.approx(-math.degrees(math.acos(0.4))), pytest.approx(0.205)]]
    small = [points for points in axes.collections if points.get_sizes()[0] < 10]
    assert sum(len(points.get_offsets()) for points in small) == 84
    assert [len(points.get_facecolors()) for points in small].count(0) == 1
    places = {text.get_text(): at for text, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)}
    assert {"0.4", "0.9", "1"} <= set(places)
    assert all(at == pytest.approx(-math.degrees(math.acos(float(text)))) for text, at in places.items())
    with style.theme():
        even = drawn(data, make_experiment(), angle=False).axes[0]
    assert even.get_xlabel() == axes.get_xlabel() == "Cosine of update and gradient"
    assert min(points.get_offsets()[:, 0].min() for points in even.collections) == pytest.approx(0.39)


@pytest.mark.parametrize("keys", [{}, {"angle": False}, {"beside": "theorem42"}, {"width": "column"}, {"marker": None}])
def test_no_text_is_clipped_or_overlaps(data: StudyData, make_experiment: Make, keys: dict) -> None:
    with style.theme():
        figure = drawn(data, make_experiment(), **keys)
        figure.canvas.draw()
        texts = [text for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label, axes.title, *axes.texts)]
        for axes in figure.axes:
            low, high = axes.get_ylim()
            left, right = axes.get_xlim()
            texts += [text for text in axes.get_xticklabels() if left <= text.get_position()[0] <= right]
            texts += [text for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        boxes += [legend.get_window_extent() for legend in figure.legends]
    assert len(figure.legends) == (3 if keys.get("width") else 2)
    for i, box in enumerate(boxes):
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= figure.bbox.x1 + 0.5
        assert box.y1 <= figure.bbox.y1 + 0.5
        assert not any(box.padded(-0.1).overlaps(other) for other in boxes[i + 1 :])


def test_legends_name_colours_by_rows_and_markers(data: StudyData, make_experiment: Make) -> None:
    with style.theme():
        figure = drawn(data, make_experiment())
    colours, markers = ([text.get_text() for text in legend.get_texts()] for legend in figure.legends)
    named = [f"{model}, $\\eta$ = {rate:g}" for model in MODELS for rate in RATES]
    assert [colours[0], colours[2], colours[4], colours[1], colours[3], colours[5]] == named
    assert markers == ["Local steps $U$:", *map(str, STEPS), "one curve", "client diverged"]


def test_the_theorem_beside_it(data: StudyData, make_experiment: Make) -> None:
    files = render_stage("figures", make_experiment(CURVE | {"beside": "theorem42"}), data)
    text = files["exp_curve.txt"].decode()
    assert text.startswith("Test data. (a) Large: ")
    assert f"(b) {theorem42.SENTENCE} All values come from study test_study." in text
    with style.theme():
        panel = drawn(data, make_experiment(), beside="theorem42").axes[1]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    crosses = [line for line in panel.lines if line.get_marker() == "x" and len(line.get_xdata())]
    # Eq. (16) has no solution where U G(mu) is below G's least value: U from 12 at mu = 0.05, from 3 at 0.3.
    assert [list(line.get_xdata()) for line in crosses] == [[16, 32, 64], [4, 8, 16, 32, 64]]


@pytest.mark.parametrize("mu", theorem42.LOGITS)
@pytest.mark.parametrize("steps", [1, *theorem42.STEPS])
def test_errors_of_the_theorem(mu: float, steps: int) -> None:
    first_order, exact = theorem42.errors(mu, steps)
    # Eq. (9) with U - 1 further gradients, all as the first.
    assert first_order == pytest.approx((steps - 1) * abs(product(mu) / slope(mu) / mu))
    assert (exact is None) == (steps * product(mu) < LEAST)
    if exact is not None:
        found = [mu * (1 + sign * exact) for sign in (1, -1)]
        assert min(abs(product(logit) - steps * product(mu)) for logit in found) == pytest.approx(0, abs=1e-9)
    if steps == 1:
        assert (first_order, exact) == (0, pytest.approx(0, abs=1e-9))


def test_same_bytes_twice(data: StudyData, make_experiment: Make) -> None:
    spec = CURVE | {"beside": "theorem42"}
    first, second = (render_stage("figures", make_experiment(spec), data) for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first["exp_curve.png"])) as image:
        assert np.round(image.info["dpi"]).tolist() == [300, 300]


def test_entries_that_are_not_shown_are_kept_apart(data: StudyData, make_experiment: Make) -> None:
    curve = Curve(**CURVE | {"marker": None, "entries": ["client_steps"]})
    assert len(curve.points(curve.cells(make_experiment(), data))) == 42
    curve = Curve(**CURVE | {"marker": None})
    assert len(curve.points(curve.cells(make_experiment(), data))) == 6


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"colour": "nothing"}, "unknown column 'nothing'"),
        ({"x": "model_name"}, "'model_name' is not numeric"),
        ({"marker": None, "x": "client_steps"}, "angle needs a cosine, 'client_steps' is 2"),
        ({"colour": ["model", "client_steps"], "marker": None}, "colour has 14 values, at most 7 can be told apart"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_and_when_it_is(
    data: StudyData, make_experiment: Make, keys: dict, said: str
) -> None:
    experiment = make_experiment(CURVE | keys)
    with pytest.raises(UserError, match=said):
        experiment.show[0].check(experiment, data)
    with pytest.raises(UserError, match=said):
        render_stage("figures", experiment, data)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"marker": "model"}, "must not repeat a name"),
        ({"y": "update_cosine"}, "must not repeat a name"),
        ({"beside": "theorem42", "width": "column"}, "beside needs width: page"),
        ({"beside": "theorem43"}, "beside"),
        ({"colour": []}, "colour"),
    ],
)
def test_keys_that_do_not_fit(make_experiment: Make, keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_experiment(CURVE | keys)


def test_where_chooses_the_cells_that_are_drawn(data, make_experiment):
    experiment = make_experiment({**CURVE, "where": {"model": "ConvNet", "client_steps": [1, 2]}})
    curve = experiment.show[0]
    points = curve.points(curve.cells(experiment, data))
    assert set(points["model"]) == {"ConvNet"}
    assert set(points["client_steps"]) == {1, 2}
    whole = make_experiment(CURVE).show[0]
    every = whole.points(whole.cells(experiment, data))
    assert len(points) == 6
    assert len(every) == 42


@pytest.mark.parametrize(("where", "said"), [({"model": "VGG"}, "no cells"), ({"colour": 1}, "unknown column")])
def test_where_that_chooses_nothing_is_an_error(data, make_experiment, where, said):
    experiment = make_experiment({**CURVE, "where": where})
    with pytest.raises(UserError, match=said):
        experiment.show[0].check(experiment, data)


def test_trials_without_a_finite_x_are_left_out_and_counted(data, make_experiment):
    experiment = make_experiment(CURVE)
    first = cell_id("ConvNet", 0.1, 64, 0)
    data.results.loc[data.results["cell_id"] == first, "update_cosine"] = math.nan
    curve = experiment.show[0]
    assert first not in set(curve.cells(experiment, data)["cell_id"])
    assert "1 trials whose Cosine of update and gradient is no finite number are left out." in curve.render(
        experiment, data
    )["_curve.txt"].decode().replace("\n", " ")
