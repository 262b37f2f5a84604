"""Comparisons of two samples against values worked out by hand."""

import math

import numpy as np
import pytest

from gradleak.analysis.statistics import LEAST, compare_groups, compare_pairs


def test_interval_of_a_mean_that_is_binomial() -> None:
    # Ten of 20 differences are 1: the mean of a resample is Binomial(20, 1/2) / 20, of which P(<= 5) = 0.021,
    # P(<= 6) = 0.058: the 2.5 % quantile is 6 / 20, by symmetry the other 14 / 20.
    for result in (compare_pairs([0] * 20, [0, 1] * 10), compare_groups([0] * 20, [0, 1] * 10)):
        assert (result.low, result.high) == pytest.approx((0.3, 0.7))
        assert (result.baseline, result.against, result.difference) == (0.0, 0.5, 0.5)
        assert result.sign == "higher"


def test_p_values_by_hand() -> None:
    # All of six differences positive: 2 of 2^6 sign patterns are as extreme.
    pairs = compare_pairs([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
    assert (pairs.p, pairs.test) == (pytest.approx(2 / 64), "wilcoxon")
    # Two groups of five without overlap: 2 of (10 choose 5) arrangements.
    groups = compare_groups([1.1, 1.2, 1.3, 1.4, 1.5], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert (groups.p, groups.test) == (pytest.approx(2 / math.comb(10, 5)), "mann-whitney")
    assert groups.sign == "lower"


def test_pairs_see_what_groups_cannot() -> None:
    baseline = np.linspace(0, 1, 10)
    against = baseline + np.linspace(0.01, 0.02, 10)
    assert compare_pairs(baseline, against).sign == "higher"
    assert compare_pairs(baseline, against).p < 0.01
    assert compare_groups(baseline, against).sign == "undecided"
    assert compare_groups(baseline, against).p > 0.5


def test_interval_of_many_values_is_that_of_the_normal_distribution() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(0, 1, 300), generator.normal(0.5, 2, 400)
    result = compare_groups(first, second)
    half = 1.96 * (first.var(ddof=1) / 300 + second.var(ddof=1) / 400) ** 0.5
    assert (result.low, result.high) == pytest.approx((result.difference - half, result.difference + half), abs=0.02)


def test_few_values_have_no_interval() -> None:
    for compare in (compare_pairs, compare_groups):
        few = compare([0.0] * (LEAST - 1), [1.0] * (LEAST - 1))
        assert math.isnan(few.low)
        assert math.isnan(few.high)
        assert few.sign == "undecided"
        assert 0 < few.p <= 1
        one = compare([0.1], [0.3])
        assert (one.p, one.sign) == (1.0, "undecided")
        assert compare([0.0] * LEAST, [1.0] * LEAST).sign == "higher"
        with pytest.raises(ValueError, match="a sample is empty"):
            compare([], [])
    with pytest.raises(ValueError, match="pairs: 2 and 3 values"):
        compare_pairs([1, 2], [1, 2, 3])


@pytest.mark.filterwarnings("error")
def test_values_that_do_not_vary() -> None:
    # Means of 0.1 over five and over six values differ by rounding: no difference.
    same = compare_groups([0.1] * 5, [0.1] * 6)
    assert (same.sign, same.p) == ("undecided", 1.0)
    equal = compare_pairs([0.2] * 6, [0.2] * 6)
    assert (equal.low, equal.high, equal.p, equal.sign) == (0.0, 0.0, 1.0, "undecided")
    shifted = compare_pairs([0.1] * 6, [0.3] * 6)
    assert (shifted.low, shifted.high) == pytest.approx((0.2, 0.2))
    assert shifted.sign == "higher"


def test_same_numbers_twice() -> None:
    values = np.random.default_rng(3).random((2, 12))
    assert compare_pairs(*values) == compare_pairs(*values)
    assert compare_groups(*values) == compare_groups(*values)
