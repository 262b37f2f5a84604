"""Aggregation against numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from gradleak.analysis.experiment import Experiment
from gradleak.analysis.summary import cell_table, ordered, plain, summarise
from gradleak.errors import UserError

Make = Callable[..., Experiment]


def test_a_cell_is_the_mean_over_images_of_the_chosen_restart(results: pd.DataFrame, make_experiment: Make) -> None:
    table = cell_table(results, make_experiment(), ["attack", "client_steps"], ["lpips", "psnr"])
    assert list(table["cell_id"]) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert table["lpips"].tolist() == pytest.approx([0.05, 0.09, 0.2, 0.3, 0.02, 0.03])
    assert table["client_steps"].tolist() == [1, 1, 2, 2, 1, 1]


def test_an_entry_is_mean_and_sample_deviation_over_trials(results: pd.DataFrame, make_experiment: Make) -> None:
    keys = ["attack", "client_steps"]
    summary = summarise(cell_table(results, make_experiment(), keys, ["lpips"]), keys, ["lpips"])
    assert summary[keys].to_numpy().tolist() == [["O", 1], ["O", 2], ["L", 1]]
    assert summary["value"].tolist() == pytest.approx([0.07, 0.25, 0.025])
    assert summary["std"].tolist() == pytest.approx([0.04 / 2**0.5, 0.1 / 2**0.5, 0.01 / 2**0.5])
    assert summary["low"].tolist() == pytest.approx([0.05, 0.2, 0.02])
    assert summary["high"].tolist() == pytest.approx([0.09, 0.3, 0.03])
    assert summary["trials"].tolist() == [2, 2, 2]


def test_one_trial_has_no_deviation(results: pd.DataFrame, make_experiment: Make) -> None:
    cells = cell_table(results, make_experiment(labels={"a1": {}}), [], ["lpips"])
    summary = summarise(cells, [], ["lpips"])
    assert summary["trials"].tolist() == [1]
    assert np.isnan(summary["std"]).all()


def test_rates_use_all_restarts(results: pd.DataFrame, make_experiment: Make) -> None:
    table = cell_table(results, make_experiment(), [], ["brr", "wsrr"])
    # Threshold 0.1 (and PSNR 25 > 18): no image of restart 0; of restart 1 both, one, none, none, both, both.
    assert table["brr"].tolist() == pytest.approx([0.5, 0.25, 0, 0, 0.5, 0.5])
    assert table["wsrr"].tolist() == pytest.approx([0.5, 0.5, 0, 0, 0.5, 0.5])


def test_rates_need_complete_rows(results: pd.DataFrame, make_experiment: Make) -> None:
    short = results.drop(index=results.index[0])
    with pytest.raises(UserError, match=r"'brr' cannot be computed.*cell a1 lacks an image"):
        cell_table(short, make_experiment(), [], ["brr"])


def test_labels_come_before_columns_and_may_be_values(results: pd.DataFrame, make_experiment: Make) -> None:
    labels = {"a1": {"model_name": "mine", "ratio": 0.5}, "a2": {"model_name": "mine", "ratio": 1}}
    table = cell_table(results, make_experiment(labels=labels), ["model_name"], ["ratio"])
    assert table["model_name"].tolist() == ["mine", "mine"]
    assert table["ratio"].tolist() == [0.5, 1.0]


def test_a_cell_without_results_is_an_error(results: pd.DataFrame, make_experiment: Make) -> None:
    with pytest.raises(UserError, match="no results for cell b1"):
        cell_table(results[results["cell_id"] != "b1"], make_experiment(), [], ["lpips"])


def test_a_missing_value_is_never_averaged_away(results: pd.DataFrame, make_experiment: Make) -> None:
    results.loc[(results["cell_id"] == "c2") & (results["image"] == 0), "lpips"] = np.nan
    with pytest.raises(UserError, match="'lpips' of cell c2 is not a number"):
        cell_table(results, make_experiment(), [], ["lpips"])


@pytest.mark.parametrize("chosen", [True, False])
def test_every_image_has_one_chosen_restart(results: pd.DataFrame, make_experiment: Make, chosen: bool) -> None:
    results.loc[results["cell_id"] == "a2", "chosen"] = chosen
    with pytest.raises(UserError, match="cell a2, image 0 needs one chosen restart"):
        cell_table(results, make_experiment(), [], ["lpips"])


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        (["atack"], ["lpips"], "unknown column 'atack'; labels: attack, dataset; columns: restart.*brr, wsrr"),
        ([], ["ipips"], "unknown column 'ipips'"),
        (["image"], [], "'image' differs within cell a1"),
        ([], ["model_name"], "column 'model_name' is not numeric"),
        ([], ["attack"], "label 'attack' is not numeric"),
    ],
)
def test_unfit_columns(
    results: pd.DataFrame, make_experiment: Make, keys: list[str], values: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        cell_table(results, make_experiment(), keys, values)


def test_a_label_that_a_cell_lacks(results: pd.DataFrame, make_experiment: Make) -> None:
    experiment = make_experiment(labels={"a1": {"variant": "x"}, "a2": {}})
    with pytest.raises(UserError, match="cell a2 has no value for 'variant'"):
        cell_table(results, experiment, ["variant"], ["lpips"])


def test_a_shared_cell_counts_once_per_entry(results: pd.DataFrame) -> None:
    from gradleak.presentations.read import parse_experiment

    cells = [{"cell_id": "a1", "labels": {"case": case}} for case in ("worst", "best")]
    experiment = parse_experiment("exp", {"title": "t", "show": [], "cells": cells}, "plan.json")
    assert len(cell_table(results, experiment, ["case"], ["lpips"])) == 2
    with pytest.raises(UserError, match="cell a1 is listed twice for the same client_steps"):
        cell_table(results, experiment, ["client_steps"], ["lpips"])


def test_order_of_keys() -> None:
    assert ordered(pd.Series([8, 1, 4, 1], dtype=object)) == [1, 4, 8]
    assert ordered(pd.Series(["Full", "#1", "Full"], dtype=object)) == ["Full", "#1"]
    assert plain(np.float64(4.0)) == 4
    assert isinstance(plain(np.float64(4.0)), int)
