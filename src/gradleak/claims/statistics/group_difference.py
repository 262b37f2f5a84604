"""The statistic `group_difference`: a metric of independent groups of trials that differ in one factor."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import CellStatistic, Values, among, shown


@STATISTICS.register("group_difference")
class GroupDifference(CellStatistic):
    """Mean of `value` over trials where `key` has a value of `against`, less that where it has one of `baseline`."""

    value: str = "lpips"
    key: str
    baseline: Values
    against: Values

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        sides = (", ".join(side) for side in (self.against, self.baseline))
        return f"{shown(self.value)}, {shown(self.key)} {' less '.join(sides)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample of two groups."""
        cells = self.cells(data, [self.key], [self.value], ())
        groups = []
        for choice in (self.baseline, self.against):
            own = cells.table[cells.table[self.key].map(lambda value, choice=choice: among(value, choice)).astype(bool)]
            if own.empty:
                raise UntestedError(f"experiment '{self.experiment}' has no cells with {self.key} {', '.join(choice)}")
            groups.append(own.groupby(cells.unit)[self.value].mean().to_numpy(float))
        return [Sample("", groups[1], groups[0], cells.ids)]
