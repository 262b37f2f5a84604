"""The correlation kind: rank correlations by hand, their signs, CSV, LaTeX and errors."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from test_table import check_structure

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.statistics import rank_correlation
from gradleak.errors import UserError
from gradleak.presentations.read import parse_experiment
from gradleak.presentations.write import render_stage, stage_files

SPEC = {"kind": "correlation", "rows": ["model"], "over": "model_round", "x": "igsa", "y": "psnr"}
MODELS = {"up": 1.0, "down": -1.0, "flat": 0.0}
ROUNDS = 8


def make_cells() -> list[dict]:
    return [
        {"cell_id": f"{model}-{number}-{trial}", "labels": {"model": model}}
        for model in MODELS
        for number in range(ROUNDS)
        for trial in range(2)
    ]


@pytest.fixture
def data() -> StudyData:
    """Means over two trials follow each other up to one swap; single trials do not."""
    rows = []
    for cell in make_cells():
        model, number, trial = cell["cell_id"].split("-")
        sign, off = MODELS[model], 100.0 * (2 * int(trial) - 1)
        place = {1: 2, 2: 1}.get(int(number), int(number))
        key = {"cell_id": cell["cell_id"], "image": 0, "restart": 0, "chosen": True, "lpips": 0.0}
        rows.append(
            key | {"model_round": int(number), "igsa": 2.0 ** int(number) + off, "psnr": 20 + sign * place - off}
        )
    return StudyData("s", pd.DataFrame(rows))


@pytest.fixture
def experiment() -> Experiment:
    return parse_experiment("exp", {"title": "A title", "show": [SPEC], "cells": make_cells()}, "plan.json")


def test_coefficient_interval_and_p() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=40)
    y = x + generator.normal(size=40)
    found, expected = rank_correlation(x, y), spearmanr(x, y)
    assert found.rho == pytest.approx(expected.statistic)
    half = 1.959964 * math.sqrt((1 + found.rho**2 / 2) / 37)
    assert math.atanh(found.high) - math.atanh(found.low) == pytest.approx(2 * half)
    assert found.low < found.rho < found.high
    assert found.p < 0.001
    assert found.sign == "positive"
    assert rank_correlation(x, y) == found
    flipped = rank_correlation(x, -y)
    assert (flipped.rho, flipped.low, flipped.high) == pytest.approx((-found.rho, -found.high, -found.low))
    assert flipped.sign == "negative"


def test_p_of_few_points_is_exact() -> None:
    found = rank_correlation([1, 2, 3, 4], [10, 20, 30, 40])
    assert (found.n, found.rho) == (4, pytest.approx(1))
    assert found.p == pytest.approx(2 / 24)
    assert found.sign == "undecided"
    assert math.isnan(found.low)
    assert rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]).p == pytest.approx(2 / 120)


@pytest.mark.parametrize(("x", "y"), [([1, 2, 3], [1, 2, 3]), ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])])
def test_too_few_points_or_a_constant_are_undecided(x: list, y: list) -> None:
    found = rank_correlation(x, y)
    assert all(math.isnan(value) for value in (found.rho, found.low, found.high, found.p))
    assert found.sign == "undecided"


def test_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth = 6 / math.pi * math.asin(0.6 / 2)  # Spearman's of a normal pair with correlation 0.6
    hits = 0
    for _ in range(200):
        x = generator.normal(size=20)
        y = 0.6 * x + 0.8 * generator.normal(size=20)
        rho = spearmanr(x, y).statistic
        half = 1.959964 * math.sqrt((1 + rho**2 / 2) / 17)
        hits += math.tanh(math.atanh(rho) - half) < truth < math.tanh(math.atanh(rho) + half)
    assert 0.90 <= hits / 200 <= 0.99


def test_files(data: StudyData, experiment: Experiment) -> None:
    files = render_stage("tables", experiment, data)
    assert list(files) == stage_files("tables", experiment) == ["exp_correlation.csv", "exp_correlation.tex"]
    rows = pd.read_csv(io.BytesIO(files["exp_correlation.csv"])).set_index("model")
    assert rows["n"].tolist() == [ROUNDS] * 3
    swapped = 1 - 6 * 2 / (ROUNDS * (ROUNDS**2 - 1))
    assert rows["rho"].tolist()[:2] == pytest.approx([swapped, -swapped], abs=1e-6)
    assert rows["sign"].tolist() == ["positive", "negative", "undecided"]
    assert rows.loc["flat", ["rho", "low", "high", "p"]].isna().all()
    text = files["exp_correlation.tex"].decode()
    check_structure(text)
    assert "$-$0.98" in text
    assert render_stage("tables", experiment, data) == files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": "psnr"}, "x and y are both 'psnr', must differ"),
        ({"rows": ["model_round"]}, "rows and over must not repeat a name"),
        ({"z": 1}, "z: unknown key; known: kind"),
    ],
)
def test_each_mistake_is_one_line(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_experiment("exp", {"title": "T", "show": [SPEC | change], "cells": make_cells()}, "plan.json")
    assert "\n" not in str(caught.value)


def test_unknown_column(data: StudyData) -> None:
    show = [SPEC | {"x": "smoothness"}]
    wrong = parse_experiment("exp", {"title": "T", "show": show, "cells": make_cells()}, "plan.json")
    with pytest.raises(UserError, match="unknown column 'smoothness'"):
        render_stage("tables", wrong, data)
