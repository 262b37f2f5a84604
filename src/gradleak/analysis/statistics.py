"""Statistics of samples: means, bootstrap intervals, rank tests and rank correlations."""

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

    count_baseline, count_against: number of images (pairs: the same). baseline, against: means. low, high:
    the 95 % interval of their difference, NaN below `LEAST` values. p: two-sided, of `test`.
    """

    count_baseline: int
    count_against: int
    baseline: float
    against: float
    low: float
    high: float
    p: float
    test: Literal["wilcoxon", "mann-whitney"]

    @property
    def difference(self) -> float:
        """The mean of `against` less that of the baseline."""
        return self.against - self.baseline

    @property
    def sign(self) -> Side:
        """Whether `against` is higher or lower than the baseline: only where the interval excludes 0."""
        return side(self.low, self.high)


def compare_pairs(baseline: ArrayLike, against: ArrayLike) -> Comparison:
    """Compare values that belong together by position; p from Wilcoxon's signed-rank test.

    Pairs without a difference do not count in the test (Wilcoxon 1945); where all have none, p is 1. Raises
    ValueError for no pair, or lengths that differ.
    """
    from scipy.stats import wilcoxon

    first, second = _samples(baseline, against)
    if len(first) != len(second):
        raise ValueError(f"pairs: {len(first)} and {len(second)} values, must be as many")
    differences = second - first
    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    means = float(first.mean()), float(second.mean())
    return Comparison(len(first), len(second), *means, *mean_interval(differences), p, "wilcoxon")


def compare_groups(baseline: ArrayLike, against: ArrayLike) -> Comparison:
    """Compare two independent samples; p from the Mann-Whitney U test. Raises ValueError for an empty one."""
    from scipy.stats import mannwhitneyu

    first, second = _samples(baseline, against)
    p = float(mannwhitneyu(second, first, alternative="two-sided").pvalue)
    means = float(first.mean()), float(second.mean())
    return Comparison(len(first), len(second), *means, *difference_interval(first, second), p, "mann-whitney")


def side(low: float, high: float) -> Side:
    """The side of 0 on which an interval lies. Undecided if it holds 0 or is NaN."""
    return "higher" if low > _ROUNDING else "lower" if high < -_ROUNDING else "undecided"


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of the mean of values (n,). NaN below `LEAST`."""
    return _interval((np.asarray(values, dtype=float),), np.mean)


def difference_interval(baseline: ArrayLike, against: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of the difference against - baseline of two independent samples' means. NaN below `LEAST`."""
    return _interval((np.asarray(against, dtype=float), np.asarray(baseline, dtype=float)), _mean_difference)


def _samples(baseline: ArrayLike, against: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(baseline, dtype=float), np.asarray(against, dtype=float)
    if not len(first) or not len(second):
        raise ValueError("a sample is empty")
    return first, second


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


LEAST_POINTS = 4
"""Fewest points with a correlation: the interval's standard error divides by the root of n - 3."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of n points, its 95 % interval and two-sided p. NaN where undefined.

    All are NaN for fewer than `LEAST_POINTS` points or a constant column. The interval is NaN for a correlation of 1
    or -1 too.
    """

    n: int
    rho: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> Literal["positive", "negative", "undecided"]:
        """The sign of the correlation, where p is below 0.05."""
        if not self.p < 0.05:
            return "undecided"
        return "positive" if self.rho > 0 else "negative"


def rank_correlation(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Spearman's correlation of points (x, y), ties at their mean rank.

    The interval is Fisher's, tanh(artanh(rho) +- 1.96 se) with se = sqrt((1 + rho^2 / 2) / (n - 3)) (Bonett and Wright
    2000). p is that of a permutation test: over all pairings up to 7 points, else over `RESAMPLES` drawn by the same
    random numbers in every call. Both take the points as independent. Raises ValueError where lengths differ.
    """
    from scipy.stats import permutation_test, rankdata

    first, second = (rankdata(np.asarray(values, dtype=float)) for values in (x, y))
    if len(first) != len(second):
        raise ValueError(f"correlation: {len(first)} and {len(second)} values, must be as many")
    n = len(first)
    if n < LEAST_POINTS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(n, math.nan, math.nan, math.nan, math.nan)
    centred = second - second.mean()
    first = first - first.mean()
    scale = math.sqrt((first**2).sum() * (centred**2).sum())

    def statistic(values: np.ndarray, axis: int = -1) -> np.ndarray:
        return (values * centred).sum(axis=axis) / scale

    found = permutation_test(
        (first,),
        statistic,
        permutation_type="pairings",
        n_resamples=RESAMPLES,
        vectorized=True,
        random_state=np.random.default_rng(0),
    )
    rho = float(np.clip(found.statistic, -1, 1))
    low = high = math.nan
    if abs(rho) < 1 - 1e-12:
        half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
    return Correlation(n, rho, low, high, float(found.pvalue))
