"""The statistic `threshold`: the mean of a metric, to be compared with the margin of a claim."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample
from gradleak.claims.selection import CellStatistic, shown


@STATISTICS.register("threshold")
class Threshold(CellStatistic):
    """Mean of `value` over the trials."""

    value: str = "lpips"

    @property
    def effect(self) -> str:
        """The metric and where it is taken."""
        pairs = [(shown(key), choice) for key, choice in self.where.items()]
        pairs += [(f"{shown(key)} not", choice) for key, choice in self.without.items()]
        texts = [f"{key} {', '.join(choice) if isinstance(choice, tuple) else choice}" for key, choice in pairs]
        return ", ".join([shown(self.value), *texts])

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample."""
        cells = self.cells(data, [], [self.value], ())
        return [Sample("", cells.table.groupby(cells.unit)[self.value].mean().to_numpy(float), None, cells.ids)]
