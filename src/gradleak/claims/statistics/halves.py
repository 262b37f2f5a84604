"""The statistic `halves`: a metric of the trials above the median of a measured column against those below."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import CellStatistic, shown


@STATISTICS.register("halves")
class Halves(CellStatistic):
    """Mean of `value` over the trials in the upper half of the column `by`, less that over the lower half.

    Of an odd number of trials, the middle one is in the upper half.
    """

    value: str = "lpips"
    by: str

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        return f"{shown(self.value)}, upper half by {shown(self.by)} less lower half"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample of two groups; raises UntestedError for a single trial."""
        cells = self.cells(data, [], [self.value, self.by], ())
        units = cells.table.groupby(cells.unit)[[self.value, self.by]].mean().sort_values(self.by, kind="stable")
        if len(units) < 2:
            raise UntestedError(f"experiment '{self.experiment}' has one trial, which has no halves")
        middle = len(units) // 2
        values = units[self.value].to_numpy(float)
        return [Sample("", values[middle:], values[:middle], cells.ids)]
