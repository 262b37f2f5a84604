"""Statistics that are differences: between two sides of a factor, two groups, two metrics or two halves of an image."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from gradleak.analysis.choice import Values, are_among
from gradleak.analysis.text import as_text
from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import Cells, CellStatistic
from gradleak.presentations.base import in_words


@STATISTICS.register("difference")
class Difference(CellStatistic):
    """Mean of `value` where `key` has a value of `against` (default: any other), less where it has one of `baseline`.

    Differences are taken between cells of the same trial that agree in `match`, labels or columns (those that the
    study does not have are left out), and averaged over the trial's. What only one side has is not compared. Of each
    value of `each`, a label or column, there is a sample of its own, if the study has it.
    """

    value: str = "lpips"
    key: str
    baseline: Values
    against: Values | None = None
    match: tuple[str, ...] = ()
    each: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.against and {*self.baseline} & {*self.against}:
            raise ValueError("baseline and against must not share a value")
        return self

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        against = ", ".join(self.against) if self.against else "others"
        return f"{in_words(self.value)}, {in_words(self.key)} {against} less {', '.join(self.baseline)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample, or one per value of `each`. Raises UntestedError also where no trial has both sides."""
        cells, first, second = self.sides(data)
        if self.each is None or self.each not in first:
            return [self.sample(cells, first, second)]
        own = dict(list(first.groupby(self.each, sort=False)))
        groups = [(value, side) for value, side in second.groupby(self.each, sort=False) if value in own]
        if not groups:
            raise UntestedError(f"experiment '{self.experiment}': no {self.each} has both values of {self.key}")
        return [self.sample(cells, own[value], side, f"{self.each} {as_text(value)}") for value, side in groups]

    def sides(self, data: ClaimData) -> tuple[Cells, pd.DataFrame, pd.DataFrame]:
        """The cells of the baseline and of the other side."""
        cells = self.cells(data, [self.key], [self.value], [*self.match, *([self.each] if self.each else [])])
        first = are_among(cells.table[self.key], self.baseline)
        second = are_among(cells.table[self.key], self.against) if self.against else ~first
        for side, names in ((first, self.baseline), (second, self.against or ("another value",))):
            if not side.any():
                raise UntestedError(f"experiment '{self.experiment}' has no cells with {self.key} {', '.join(names)}")
        return cells, cells.table[first], cells.table[second]

    def sample(self, cells: Cells, first: pd.DataFrame, second: pd.DataFrame, name: str = "") -> Sample:
        """The differences of one pair of sides."""
        keys = list(dict.fromkeys([*cells.unit, *cells.extra]))
        pairs = second.groupby(keys)[self.value].mean() - first.groupby(keys)[self.value].mean()
        found = pairs.dropna().groupby(level=cells.unit).mean()
        if found.empty:
            raise UntestedError(f"experiment '{self.experiment}': no trial has both values of {self.key}")
        return Sample(found.to_numpy(float), (*first["cell_id"], *second["cell_id"]), name=name)


@STATISTICS.register("every_difference")
class EveryDifference(Difference):
    """One sample for each value of `against`: a claim about any of them holds only if it holds for all of them."""

    each: None = None

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        return f"{in_words(self.value)}, each {in_words(self.key)} less {', '.join(self.baseline)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """A sample per value that the study has. Raises UntestedError as `difference`."""
        cells, first, second = self.sides(data)
        groups = second.groupby(self.key, sort=False)
        return [self.sample(cells, first, own, f"{in_words(self.key)} {as_text(value)}") for value, own in groups]


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
        return f"{in_words(self.value)}, {in_words(self.key)} {' less '.join(sides)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample of two groups."""
        cells = self.cells(data, [self.key], [self.value])
        groups = []
        for choice in (self.baseline, self.against):
            own = cells.table[are_among(cells.table[self.key], choice)]
            if own.empty:
                raise UntestedError(f"experiment '{self.experiment}' has no cells with {self.key} {', '.join(choice)}")
            groups.append(own.groupby(cells.unit)[self.value].mean().to_numpy(float))
        return [Sample(groups[1], cells.ids, groups[0])]


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
        return f"{in_words(self.value)}, upper half by {in_words(self.by)} less lower half"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample of two groups. Raises UntestedError for a single trial."""
        cells = self.cells(data, [], [self.value, self.by])
        units = cells.table.groupby(cells.unit)[[self.value, self.by]].mean().sort_values(self.by, kind="stable")
        if len(units) < 2:
            raise UntestedError(f"experiment '{self.experiment}' has one trial, which has no halves")
        middle = len(units) // 2
        values = units[self.value].to_numpy(float)
        return [Sample(values[middle:], cells.ids, values[:middle])]


@STATISTICS.register("metric_difference")
class MetricDifference(CellStatistic):
    """Mean of the metric `against` less that of `baseline`, in the same unit."""

    baseline: str
    against: str

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        return f"{in_words(self.against)} less {in_words(self.baseline)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample."""
        cells = self.cells(data, [], [self.baseline, self.against])
        means = cells.table.groupby(cells.unit)[[self.baseline, self.against]].mean()
        return [Sample((means[self.against] - means[self.baseline]).to_numpy(float), cells.ids)]


@STATISTICS.register("signs")
class Signs(CellStatistic):
    """Mean over trials of the share of values of `key` under which `value` is higher or lower than under `baseline`, as
    `expected` says (0 to 1; no difference counts half).

    Values of `key` that the study does not have are not counted.
    """

    value: str = "lpips"
    key: str
    baseline: Values
    expected: Annotated[Mapping[str, Literal["higher", "lower"]], Field(min_length=1)]

    @property
    def effect(self) -> str:
        """What is counted."""
        return f"share of {in_words(self.key)}s that move {in_words(self.value)} as in the paper"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample. Raises UntestedError also where the study has no baseline or none of the expected values."""
        cells = self.cells(data, [self.key], [self.value])
        table = cells.table
        base = table[are_among(table[self.key], self.baseline)]
        if base.empty:
            raise UntestedError(f"experiment '{self.experiment}' has no cells with {self.key} {self.baseline[0]}")
        reference = base.groupby(cells.unit)[self.value].mean()
        shares = []
        for name, side in self.expected.items():
            own = table[are_among(table[self.key], (name,))]
            if own.empty:
                continue
            moved = (own.groupby(cells.unit)[self.value].mean() - reference).dropna()
            right = moved > 0 if side == "higher" else moved < 0
            shares.append(right.astype(float).where(moved != 0, 0.5))
        if not shares:
            raise UntestedError(f"experiment '{self.experiment}' has none of the expected values of {self.key}")
        return [Sample(pd.concat(shares, axis=1).mean(axis=1).to_numpy(float), cells.ids)]
