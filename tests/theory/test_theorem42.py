"""Theorem 4.2: what is measured after one step, in the limit of small rates, and where Eq. (16) has no solution."""

import pandas as pd
import pytest

from gradleak.analysis.logit import LEAST, product
from gradleak.theory import theorem42
from gradleak.theory.theorem42 import everywhere


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return theorem42.measure(trials=2)


def test_one_step_is_inverted_exactly(frame: pd.DataFrame) -> None:
    one = frame[frame["U"] == 1]
    assert one["solvable"].all()
    assert one["error"].max() < 1e-10
    assert one["error_eq9"].max() < 1e-10


def test_eq_8_is_exact_where_its_conditions_hold_and_has_no_error_of_content(frame: pd.DataFrame) -> None:
    chosen = frame[(frame["network"] == "aligned") & frame["solvable"]]
    pd.testing.assert_series_equal(chosen["error"], chosen["error_eq8"], check_names=False, rtol=1e-8, atol=1e-10)
    assert chosen["across"].max() < 1e-10


def test_generic_networks_have_an_error_of_content_that_eq_8_lacks(frame: pd.DataFrame) -> None:
    chosen = frame[(frame["network"] == "widening") & (frame["rate"] == 0.3) & (frame["U"] == 4) & frame["solvable"]]
    assert (chosen["across"] > 0.01).all()


def test_small_rates_leave_the_factor_of_the_sum(frame: pd.DataFrame) -> None:
    slow = frame[(frame["rate"] == 0.01) & (frame["U"] == 4) & (frame["mu"] == -0.5)]
    summed, mean = slow[slow["adversary"] == "sum"], slow[slow["adversary"] == "mean"]
    # Four gradients that are nearly the first: the product is nearly four times as large.
    assert (summed["product"] / product(-0.5)).to_numpy() == pytest.approx(4, rel=0.03)
    assert (mean["product"] / product(-0.5)).to_numpy() == pytest.approx(1, rel=0.03)
    assert summed["error"].min() > 1
    assert mean["error"].max() < 0.05


def test_no_solution_is_no_number(frame: pd.DataFrame) -> None:
    lost = frame[~frame["solvable"]]
    assert len(lost) > 0
    assert (lost["product"] < LEAST).all()
    assert lost[["mu_found", "error", "along", "across", "error_eq8"]].isna().all(axis=None)
    assert frame[frame["solvable"]][["mu_found", "error"]].notna().all(axis=None)


def test_figures_do_not_average_over_survivors() -> None:
    rows = pd.DataFrame({"U": [1, 1, 2, 2], "solvable": [True, True, True, False], "error": [1.0, 3.0, 5.0, None]})
    kept = everywhere(rows, "error")
    assert kept.to_dict("records") == [{"U": 1, "median": 2.0, "min": 1.0, "max": 3.0}]


def test_summary_has_no_averages_over_survivors(frame: pd.DataFrame) -> None:
    table = theorem42.summarise(frame)
    whole, part = table[table["solvable"] == 1], table[table["solvable"] < 1]
    assert len(part) > 0
    assert whole[["error", "error_eq8"]].notna().all(axis=None)
    assert part[["error", "error_eq8", "along", "across"]].isna().all(axis=None)


def test_limit_of_steps_by_hand() -> None:
    limits = theorem42.limits(trials=1)
    slow = limits.drop_duplicates("mu").set_index("mu")["steps_slow"]
    # G(0.14) = -0.14 / (1 + e^0.14) = -0.0651, and 0.2785 / 0.0651 = 4.28; G(0.6) = -0.2126.
    assert slow[0.14] == 4
    assert slow[0.6] == 1
    near = limits[(limits["rate"] == 0.01) & (limits["mu"] > 0.1)]
    assert (near["steps"] == near["steps_slow"]).all()
