"""Monotone curves through points: whether one holds them all, or each group needs its own."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradleak.analysis.statistics import rank_correlation

ALL = "all"


def monotone_fit(x: ArrayLike, y: ArrayLike, rising: bool) -> np.ndarray:
    """The values (n,) at x of the curve that rises (or falls) and is closest to y in squares; equal x share one value.

    Isotonic regression by pooling adjacent violators.
    """
    from scipy.optimize import isotonic_regression

    _, index, counts = np.unique(np.asarray(x, dtype=float), return_inverse=True, return_counts=True)
    means = np.bincount(index, weights=np.asarray(y, dtype=float)) / counts
    return np.asarray(isotonic_regression(means, weights=counts, increasing=rising).x[index], dtype=float)


def rises(x: ArrayLike, y: ArrayLike) -> bool:
    """Whether a rising curve is closer to the points than a falling one."""
    up, down = (float(((monotone_fit(x, y, way) - np.asarray(y, dtype=float)) ** 2).sum()) for way in (True, False))
    return up < down


def held(points: pd.DataFrame, groups: list[str], x: str, y: str) -> pd.DataFrame:
    """How well one curve holds all points: a row for all of them (`ALL` in each of `groups`), and for each group.

    Columns: `groups`; `n`, `rho`, `low`, `high`, `p` as of `rank_correlation` of y with x; `sd` of y; `residual`, root
    mean square around the one curve, and `offset`, the mean of y less that curve; `own_residual`, the same around a
    curve of each group. All curves rise or fall as the one does. A group's own curve is never farther from it than the
    one, so that `own_residual` is the least that any curves leave.
    """
    rising = rises(points[x], points[y])
    parts = [own for _, own in points.groupby(groups, sort=False)] if groups else [points]
    away = points[y] - monotone_fit(points[x], points[y], rising)
    own_away = pd.concat([own[y] - monotone_fit(own[x], own[y], rising) for own in parts])
    rows = []
    for part in [points, *parts] if groups else [points]:
        result = rank_correlation(part[x], part[y])
        row = dict.fromkeys(groups, ALL) if part is points else {key: part[key].iloc[0] for key in groups}
        rows.append(
            {
                **row,
                **{"n": result.n, "rho": result.rho, "low": result.low, "high": result.high, "p": result.p},
                "sd": float(part[y].std(ddof=0)),
                "residual": _rms(away[part.index]),
                "offset": float(away[part.index].mean()),
                "own_residual": _rms(own_away[part.index]),
            }
        )
    return pd.DataFrame(rows)


def _rms(values: pd.Series) -> float:
    return math.sqrt(float((values**2).mean()))
