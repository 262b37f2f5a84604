"""Courses: how two columns go together within one trial, as a rank correlation per trial."""

import pandas as pd

from gradleak.claims.base import Sample, UntestedError
from gradleak.claims.selection import Cells


def course_sample(experiment: str, cells: Cells, over: str, x: str, y: str) -> Sample:
    """Spearman's correlation of `x` and `y` over the values of `over`, averaged over the series of each trial.

    A series is a combination of the cells' optional columns; cells that it has several of at one value of `over` are
    averaged. Values that are all the same have no trend: 0. Raises UntestedError for a factor that is not a number
    where it is `x`, and where no trial has a series of two values.
    """
    table = cells.table
    if x == over:
        table = table.assign(**{over: pd.to_numeric(table[over], errors="coerce")})
        if table[over].isna().any():
            raise UntestedError(f"experiment '{experiment}': '{over}' is not a number throughout")
    keys = list(dict.fromkeys([*cells.unit, *(name for name in cells.extra if name != over)]))
    points = table.groupby([*keys, over], as_index=False)[[y] if x == over else [x, y]].mean()
    records = []
    for key, course in points.groupby(keys):
        if len(course) > 1:
            records.append({**dict(zip(keys, key, strict=True)), "rho": _rho(course[x], course[y])})
    if not records:
        raise UntestedError(f"experiment '{experiment}': no trial has two values of {over}")
    found = pd.DataFrame(records).groupby(cells.unit)["rho"].mean()
    return Sample("", found.to_numpy(float), None, cells.ids)


def _rho(x: pd.Series, y: pd.Series) -> float:
    if x.nunique() == 1 or y.nunique() == 1:
        return 0.0
    return float(x.rank().corr(y.rank()))
