"""Comparing what was computed again with an archive."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from gradleak.metrics.base import columns

#: How far an image may be from the archive's where it need not be equal bit for bit, LPIPS and PSNR in dB; for a mean
#: over n images, this divided by the square root of n. docs/reference.md has the measurement behind it.
TOLERANCE = {"lpips": 0.1, "psnr": 4.0}
SHOWN = ("lpips", "psnr", "objective")
_KEYS = ["cell_id", "restart", "position"]


@dataclass(frozen=True)
class Comparison:
    """One cell computed again beside the archive's.

    means: of the chosen restart's images, ours and the archive's, for `SHOWN`. identical: all restarts of all images
    have the same objective, iterations, label and metrics, bit for bit. agrees: what was asked of it holds.
    """

    cell: str
    images: int
    means: Mapping[str, tuple[float, float]]
    identical: bool
    agrees: bool

    @property
    def verdict(self) -> str:
        """`identical`, `within tolerance` or `differs`."""
        return "differs" if not self.agrees else "identical" if self.identical else "within tolerance"


def compare(ours: pd.DataFrame, archived: pd.DataFrame, exact: bool) -> list[Comparison]:
    """Compare the rows of one run's cells, as in results.parquet.

    They must be equal bit for bit where `exact`; else the means of each cell and of the run must be within `TOLERANCE`.
    """
    theirs = archived[archived["cell_id"].isin(ours["cell_id"])]
    run_near = _near(ours, theirs)
    found = []
    for cell, rows in ours.groupby("cell_id", sort=False):
        others = theirs[theirs["cell_id"] == cell]
        identical = _identical(rows, others)
        agrees = identical if exact else run_near and _near(rows, others)
        means = {name: (_mean(rows, name), _mean(others, name)) for name in SHOWN}
        found.append(Comparison(str(cell), int(rows["chosen"].sum()), means, identical, agrees))
    return found


def _identical(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    names = [*_KEYS, "objective", "iterations", "label", *(name for name in columns() if name in theirs)]
    one, other = (frame.sort_values(_KEYS)[names].reset_index(drop=True) for frame in (ours, theirs))
    return one.equals(other.astype(one.dtypes))


def _near(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    limits = {name: limit / math.sqrt(ours["chosen"].sum()) for name, limit in TOLERANCE.items()}
    return len(ours) == len(theirs) and all(
        abs(_mean(ours, name) - _mean(theirs, name)) <= limit for name, limit in limits.items()
    )


def _mean(rows: pd.DataFrame, name: str) -> float:
    return float(rows.loc[rows["chosen"].astype(bool), name].mean())
