"""Monotone curves by hand: pooled violators, ties, and one curve for all against one for each group."""

import math

import pandas as pd
import pytest

from gradleak.analysis.monotone import held, monotone_fit, rises


def test_neighbours_that_violate_the_order_are_pooled() -> None:
    assert monotone_fit([1, 2, 3, 4], [1, 3, 2, 5], rising=True) == pytest.approx([1, 2.5, 2.5, 5])
    assert monotone_fit([1, 2, 3, 4], [5, 3, 4, 1], rising=False) == pytest.approx([5, 3.5, 3.5, 1])


def test_order_of_points_does_not_matter_and_equal_x_share_a_value() -> None:
    # At 3 the mean of 1 and 5 is 3, below the 4 at 2: pooled with their weights, (4 + 1 + 5) / 3.
    assert monotone_fit([3, 1, 3, 2], [1, 0, 5, 4], rising=True) == pytest.approx([10 / 3, 0, 10 / 3, 10 / 3])


def test_direction_is_that_of_the_closer_curve() -> None:
    assert rises([1, 2, 3], [0, 2, 1])
    assert not rises([1, 2, 3], [2, 0, 1])


def test_one_curve_and_one_of_each_group() -> None:
    points = pd.DataFrame(
        {"model": ["a"] * 4 + ["b"] * 4, "x": [1, 2, 3, 4] * 2, "y": [8, 6, 4, 2, 10, 8, 6, 4]}, dtype=object
    ).astype({"x": float, "y": float})
    fits = held(points, ["model"], "x", "y").set_index("model")
    # The one curve is the mean of the two groups, 1 from either; each group falls by itself.
    assert fits["n"].to_dict() == {"all": 8, "a": 4, "b": 4}
    assert fits["residual"].tolist() == pytest.approx([1, 1, 1])
    assert fits["own_residual"].tolist() == pytest.approx([0, 0, 0])
    assert fits["offset"].tolist() == pytest.approx([0, -1, 1])
    assert fits["rho"].tolist()[1:] == pytest.approx([-1, -1])
    assert -1 < fits["rho"]["all"] < -0.8
    assert fits["sd"]["a"] == pytest.approx(math.sqrt(5))


def test_a_group_that_goes_the_other_way_is_not_held() -> None:
    points = pd.DataFrame({"model": ["a"] * 6 + ["b"] * 3, "x": [1.0, 2, 3, 4, 5, 6, 1, 2, 3]})
    points["y"] = [6.0, 5, 4, 3, 2, 1, 4, 5, 6]
    fits = held(points, ["model"], "x", "y").set_index("model")
    assert fits["own_residual"]["a"] == pytest.approx(0)
    # All curves fall as the one does, so that the closest to a rising group is its mean.
    assert fits["own_residual"]["b"] == pytest.approx(fits["sd"]["b"])


def test_without_groups_there_is_the_one_curve_alone() -> None:
    points = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [3.0, 2.0, 1.0]})
    (row,) = held(points, [], "x", "y").to_dict("records")
    assert (row["n"], row["residual"], row["own_residual"]) == (3, 0, 0)
    assert math.isnan(row["rho"])
