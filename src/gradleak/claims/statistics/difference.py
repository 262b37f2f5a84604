"""The statistic `difference`: a metric under one value of a factor less that under another, trial by trial."""

from typing import Self

import pandas as pd
from pydantic import model_validator

from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import Cells, CellStatistic, Values, among, shown


@STATISTICS.register("difference")
class Difference(CellStatistic):
    """Mean of `value` where `key` has a value of `against` (default: any other), less where it has one of `baseline`.

    Differences are taken between cells of the same trial that agree in `match`, labels or columns (those that the
    study does not have are left out), and averaged over the trial's; what only one side has is not compared.
    """

    value: str = "lpips"
    key: str
    baseline: Values
    against: Values | None = None
    match: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.against and {*self.baseline} & {*self.against}:
            raise ValueError("baseline and against must not share a value")
        return self

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        against = ", ".join(self.against) if self.against else "others"
        return f"{shown(self.value)}, {shown(self.key)} {against} less {', '.join(self.baseline)}"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample; raises UntestedError also where no trial has both sides."""
        cells, first, second = self.sides(data)
        return [self.sample(cells, first, second, "")]

    def sides(self, data: ClaimData) -> tuple[Cells, pd.DataFrame, pd.DataFrame]:
        """The cells of the baseline and of the other side."""
        cells = self.cells(data, [self.key], [self.value], self.match)
        first = cells.table[self.key].map(lambda value: among(value, self.baseline)).astype(bool)
        second = ~first
        if self.against:
            against = self.against
            second = cells.table[self.key].map(lambda value: among(value, against)).astype(bool)
        for side, names in ((first, self.baseline), (second, self.against or ("another value",))):
            if not side.any():
                raise UntestedError(f"experiment '{self.experiment}' has no cells with {self.key} {', '.join(names)}")
        return cells, cells.table[first], cells.table[second]

    def sample(self, cells: Cells, first: pd.DataFrame, second: pd.DataFrame, name: str) -> Sample:
        """The differences of one pair of sides."""
        keys = list(dict.fromkeys([*cells.unit, *cells.extra]))
        pairs = second.groupby(keys)[self.value].mean() - first.groupby(keys)[self.value].mean()
        found = pairs.dropna().groupby(level=cells.unit).mean()
        if found.empty:
            raise UntestedError(f"experiment '{self.experiment}': no trial has both values of {self.key}")
        return Sample(name, found.to_numpy(float), None, (*first["cell_id"], *second["cell_id"]))
