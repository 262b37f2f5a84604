"""Comparing what was computed again with an archive."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from gradleak.metrics.base import columns

#: How far the means of a cell's images may be from the archive's where they need not be equal bit for bit: LPIPS, and
#: PSNR in dB. docs/reference.md has the measurement behind them.
TOLERANCE = {"lpips": 0.05, "psnr": 2.0}
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
    """Compare rows of cells, as in results.parquet: equal bit for bit where `exact`, else within `TOLERANCE`."""
    measured = ["objective", "iterations", "label", *columns()]
    found = []
    for cell, rows in ours.groupby("cell_id", sort=False):
        mine, theirs = (
            frame.sort_values(_KEYS).reset_index(drop=True) for frame in (rows, archived[archived["cell_id"] == cell])
        )
        identical = len(mine) == len(theirs) and all(
            mine[name].equals(theirs[name].astype(mine[name].dtype)) for name in [*_KEYS, *measured]
        )
        means = {name: (_mean(mine, name), _mean(theirs, name)) for name in SHOWN}
        near = all(abs(means[name][0] - means[name][1]) <= limit for name, limit in TOLERANCE.items())
        images = int(mine["chosen"].sum())
        found.append(
            Comparison(str(cell), images, means, identical, identical if exact else near and len(mine) == len(theirs))
        )
    return found


def _mean(rows: pd.DataFrame, name: str) -> float:
    return float(rows.loc[rows["chosen"].astype(bool), name].mean())
