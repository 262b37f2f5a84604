"""The statistic `every_difference`: as `difference`, for each value of a factor on its own."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample
from gradleak.claims.selection import shown
from gradleak.claims.statistics.difference import Difference
from gradleak.tables.spec import as_text


@STATISTICS.register("every_difference")
class EveryDifference(Difference):
    """One sample for each value of `against`: a claim about any of them holds only if it holds for all of them."""

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        return f"{shown(self.value)}, each {shown(self.key)} less {', '.join(self.baseline)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """A sample per value that the study has; raises UntestedError as `difference`."""
        cells, first, second = self.sides(data)
        groups = second.groupby(self.key, sort=False)
        return [self.sample(cells, first, own, f"{shown(self.key)} {as_text(value)}") for value, own in groups]
