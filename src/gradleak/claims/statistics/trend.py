"""The statistic `trend`: how a metric goes with an ordered factor, trial by trial."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample
from gradleak.claims.courses import course_sample
from gradleak.claims.selection import CellStatistic, shown


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
        return f"rank correlation of {shown(self.value)} with {shown(self.over)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample; raises UntestedError also where no series has two values of the factor."""
        cells = self.cells(data, [self.over], [self.value], self.series)
        return [course_sample(self.experiment, cells, self.over, self.over, self.value)]
