"""The statistic `metric_difference`: two metrics of the same reconstructions, trial by trial."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample
from gradleak.claims.selection import CellStatistic, shown


@STATISTICS.register("metric_difference")
class MetricDifference(CellStatistic):
    """Mean of the metric `against` less that of `baseline`, in the same unit."""

    baseline: str
    against: str

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        return f"{shown(self.against)} less {shown(self.baseline)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample."""
        cells = self.cells(data, [], [self.baseline, self.against], ())
        means = cells.table.groupby(cells.unit)[[self.baseline, self.against]].mean()
        return [Sample("", (means[self.against] - means[self.baseline]).to_numpy(float), None, cells.ids)]
