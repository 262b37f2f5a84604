"""The statistic `correlation`: how two measured columns go together over a factor, trial by trial."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample
from gradleak.claims.courses import course_sample
from gradleak.claims.selection import CellStatistic, shown


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
        return f"rank correlation of {shown(self.x)} with {shown(self.y)} over {shown(self.over)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample; raises UntestedError also where no series has two values of the factor."""
        cells = self.cells(data, [self.over], [self.x, self.y], self.series)
        return [course_sample(self.experiment, cells, self.over, self.x, self.y)]
