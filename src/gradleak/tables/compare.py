"""Two samples of images compared: means, a bootstrap interval of their difference, and a rank test."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 9999
_ROUNDING = 1e-12
Side = Literal["higher", "lower", "undecided"]
LEAST = 5
"""Fewest values of a sample with an interval: of four, a resample repeats one value with a chance of 1.6 %, so that
the interval is little more than their range."""


@dataclass(frozen=True)
class Comparison:
    """A baseline compared with something else.

    count_baseline, count_against: number of images (pairs: the same). baseline, against: means. difference:
    against - baseline. low, high: its 95 % interval, NaN below `LEAST` values. p: two-sided, of `test`.
    """

    count_baseline: int
    count_against: int
    baseline: float
    against: float
    difference: float
    low: float
    high: float
    p: float
    test: Literal["wilcoxon", "mann-whitney"]

    @property
    def sign(self) -> "Side":
        """Whether `against` is higher or lower than the baseline: only where the interval excludes 0."""
        return side(self.low, self.high)


def compare_pairs(baseline: ArrayLike, against: ArrayLike) -> Comparison:
    """Compare values that belong together by position; p from Wilcoxon's signed-rank test.

    Pairs without a difference do not count in the test (Wilcoxon 1945); where all have none, p is 1. Raises
    ValueError for no pair, or lengths that differ.
    """
    from scipy.stats import wilcoxon

    first, second = _arrays(baseline, against)
    if len(first) != len(second):
        raise ValueError(f"pairs: {len(first)} and {len(second)} values, must be as many")
    differences = second - first
    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    low, high = mean_interval(differences)
    return _comparison(first, second, low, high, p, "wilcoxon")


def compare_groups(baseline: ArrayLike, against: ArrayLike) -> Comparison:
    """Compare two independent samples; p from the Mann-Whitney U test. Raises ValueError for an empty one."""
    from scipy.stats import mannwhitneyu

    first, second = _arrays(baseline, against)
    p = float(mannwhitneyu(second, first, alternative="two-sided").pvalue)
    low, high = difference_interval(first, second)
    return _comparison(first, second, low, high, p, "mann-whitney")


def side(low: float, high: float) -> Side:
    """On which side of 0 an interval lies; undecided where it holds 0, or is NaN."""
    return "higher" if low > _ROUNDING else "lower" if high < -_ROUNDING else "undecided"


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of the mean of values (n,); NaN below `LEAST`."""
    return _interval((np.asarray(values, dtype=float),), _mean)


def difference_interval(baseline: ArrayLike, against: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of the difference against - baseline of two independent samples' means; NaN below `LEAST`."""
    return _interval((np.asarray(against, dtype=float), np.asarray(baseline, dtype=float)), _mean_difference)


def _arrays(baseline: ArrayLike, against: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(baseline, dtype=float), np.asarray(against, dtype=float)
    if not len(first) or not len(second):
        raise ValueError("a sample is empty")
    return first, second


def _mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return values.mean(axis=axis)


def _mean_difference(against: np.ndarray, baseline: np.ndarray, axis: int = -1) -> np.ndarray:
    return against.mean(axis=axis) - baseline.mean(axis=axis)


def _interval(samples: tuple[np.ndarray, ...], statistic: object) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval, by the same random numbers in every call.

    Percentile and not BCa: BCa's acceleration comes from a jackknife, which a dozen images determine badly, and it
    is undefined where values do not vary. Both are somewhat too narrow for few values.
    """
    from scipy.stats import bootstrap

    if min(map(len, samples)) < LEAST:
        return math.nan, math.nan
    found = bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=1000,
        vectorized=True,
        confidence_level=0.95,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _comparison(
    first: np.ndarray, second: np.ndarray, low: float, high: float, p: float, test: Literal["wilcoxon", "mann-whitney"]
) -> Comparison:
    means = float(first.mean()), float(second.mean())
    return Comparison(len(first), len(second), *means, means[1] - means[0], low, high, p, test)
