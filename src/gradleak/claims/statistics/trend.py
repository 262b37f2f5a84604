"""Statistics that are rank correlations: of a metric over a factor, and of two columns."""

import pandas as pd

from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import Cells, CellStatistic
from gradleak.presentations.base import in_words


def course_sample(experiment: str, cells: Cells, over: str, x: str, y: str) -> Sample:
    """Spearman's correlation of `x` and `y` over the values of `over`, averaged over the series of each trial.

    A series is a combination of the cells' optional columns. Cells that it has several of at one value of `over` are
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
    return Sample(found.to_numpy(float), cells.ids)


def _rho(x: pd.Series, y: pd.Series) -> float:
    if x.nunique() == 1 or y.nunique() == 1:
        return 0.0
    return float(x.rank().corr(y.rank()))


@STATISTICS.register("trend")
class Trend(CellStatistic):
    """Mean over trials of Spearman's rank correlation of `value` with the numeric factor `over`.

    One correlation for each trial and combination of `series` (labels or columns; those that the study does not have
    are left out), averaged over a trial's series: 1 if the metric grows with every step of the factor.
    """

    value: str = "lpips"
    over: str
    series: tuple[str, ...] = ()

    @property
    def effect(self) -> str:
        """What is correlated with what."""
        return f"rank correlation of {in_words(self.value)} with {in_words(self.over)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample. Raises UntestedError also where no series has two values of the factor."""
        cells = self.cells(data, [self.over], [self.value], self.series)
        return [course_sample(self.experiment, cells, self.over, self.over, self.value)]


@STATISTICS.register("correlation")
class ColumnCorrelation(CellStatistic):
    """Mean over trials of Spearman's rank correlation of the columns `x` and `y` over the values of `over`.

    One correlation for each trial and combination of `series`, averaged over a trial's series (as of a `trend`).
    """

    x: str
    y: str
    over: str
    series: tuple[str, ...] = ()

    @property
    def effect(self) -> str:
        """What is correlated with what."""
        return f"rank correlation of {in_words(self.x)} with {in_words(self.y)} over {in_words(self.over)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample. Raises UntestedError also where no series has two values of the factor."""
        cells = self.cells(data, [self.over], [self.x, self.y], self.series)
        return [course_sample(self.experiment, cells, self.over, self.x, self.y)]
