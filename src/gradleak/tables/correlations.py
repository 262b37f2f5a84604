"""How two measured columns go together over a factor: Spearman's rank correlation with interval and p."""

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pydantic import model_validator

from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.spec import PresentationSpec
from gradleak.tables.summary import cell_table

LEAST = 4
"""Fewest points with a correlation: the interval's standard error divides by the root of n - 3."""
RESAMPLES = 9999


class CorrelationSpec(PresentationSpec):
    """A table of rank correlations: one line per combination of `rows`, of `x` and `y` over the values of `over`.

    A point is the mean of `x` and of `y` over the trials at one value of `over` (a round). wide: over both columns of a
    two-column page.
    """

    kind: Literal["correlation"] = "correlation"
    rows: tuple[str, ...] = ()
    over: str
    x: str
    y: str
    wide: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.columns_used())) <= len(self.rows):
            raise ValueError("rows and over must not repeat a name")
        if self.x == self.y:
            raise ValueError(f"x and y are both '{self.x}', must differ")
        return self

    def columns_used(self) -> list[str]:
        """Rows and `over`."""
        return [*self.rows, self.over]


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of n points, its 95 % interval and two-sided p; NaN where undefined.

    All are NaN for fewer than `LEAST` points or a constant column, the interval also for a correlation of 1 or -1.
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
    if n < LEAST or np.ptp(first) == 0 or np.ptp(second) == 0:
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


def correlations(
    spec: CorrelationSpec, experiment: Experiment, data: StudyData
) -> list[tuple[tuple[object, ...], Correlation]]:
    """One correlation per combination of `rows`, in the plan's order; raises UserError as `cell_table`."""
    cells = cell_table(data.results, experiment, spec.columns_used(), [spec.x, spec.y])
    groups: list[tuple[tuple[object, ...], pd.DataFrame]] = [((), cells)]
    if spec.rows:
        groups = [(tuple(key), group) for key, group in cells.groupby(list(spec.rows), sort=False)]
    found = []
    for key, group in groups:
        points = group.groupby(spec.over, sort=False)[[spec.x, spec.y]].mean()
        found.append((key, rank_correlation(points[spec.x], points[spec.y])))
    return found
