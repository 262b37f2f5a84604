"""At which scale a claim was tested: data, models and iterations of the cells behind it, in one line."""

import math
from collections.abc import Sequence

import pandas as pd

_MOST = 3


def scale(results: pd.DataFrame, cells: Sequence[str]) -> str:
    """Data sets with resolutions, models with widths, greatest number of iterations, and number of cells.

    results: as results.parquet. Empty where no cells are named.
    """
    rows = results[results["cell_id"].isin(cells)]
    if rows.empty:
        return ""
    data = [f"{name} at {size} px" for name, size in _pairs(rows, "dataset_name", "dataset_resolution")]
    models = [
        str(name) if width in ("1", "") else f"{name} of width {width}"
        for name, width in _pairs(rows, "model_name", "model_width")
    ]
    parts = [_listed(data), _listed(models)]
    if "iterations" in rows.columns and math.isfinite(most := rows["iterations"].max()):
        parts.append(f"up to {int(most):,} iterations")
    count = rows["cell_id"].nunique()
    parts.append(f"{count:,} cell{'s' if count > 1 else ''}")
    return "; ".join(part for part in parts if part)


def _pairs(rows: pd.DataFrame, first: str, second: str) -> list[tuple[str, str]]:
    if first not in rows.columns:
        return []
    if second not in rows.columns:
        return [(str(name), "") for name in dict.fromkeys(rows[first])]
    pairs = rows[[first, second]].drop_duplicates().itertuples(index=False, name=None)
    return [(str(name), "" if pd.isna(value) else f"{value:g}") for name, value in pairs]


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _MOST else f"{', '.join(names[:_MOST])} and {len(names) - _MOST} more"
