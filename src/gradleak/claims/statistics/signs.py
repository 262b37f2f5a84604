"""The statistic `signs`: how often a metric moves in the direction that the paper found."""

from collections.abc import Mapping
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import CellStatistic, Values, among, shown


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
        return f"share of {shown(self.key)}s that move {shown(self.value)} as in the paper"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample; raises UntestedError also where the study has no baseline or none of the expected values."""
        cells = self.cells(data, [self.key], [self.value], ())
        table = cells.table
        base = table[table[self.key].map(lambda value: among(value, self.baseline)).astype(bool)]
        if base.empty:
            raise UntestedError(f"experiment '{self.experiment}' has no cells with {self.key} {self.baseline[0]}")
        reference = base.groupby(cells.unit)[self.value].mean()
        shares = []
        for name, side in self.expected.items():
            own = table[table[self.key].map(lambda value, name=name: among(value, (name,))).astype(bool)]
            if own.empty:
                continue
            moved = (own.groupby(cells.unit)[self.value].mean() - reference).dropna()
            right = moved > 0 if side == "higher" else moved < 0
            shares.append(right.astype(float).where(moved != 0, 0.5))
        if not shares:
            raise UntestedError(f"experiment '{self.experiment}' has none of the expected values of {self.key}")
        return [Sample("", pd.concat(shares, axis=1).mean(axis=1).to_numpy(float), None, cells.ids)]
