"""Statistics that are compared with a threshold: the mean of a metric, and the values of a CSV file."""

from collections.abc import Mapping
from typing import ClassVar

import pandas as pd

from gradleak.analysis.choice import Choice, are_among
from gradleak.claims.base import STATISTICS, ClaimData, Sample, Statistic, UntestedError
from gradleak.claims.selection import CellStatistic
from gradleak.errors import UserError
from gradleak.presentations.base import in_words


@STATISTICS.register("threshold")
class Threshold(CellStatistic):
    """Mean of `value` over the trials."""

    value: str = "lpips"

    @property
    def effect(self) -> str:
        """The metric and where it is taken."""
        pairs = [(in_words(key), choice) for key, choice in self.where.items()]
        pairs += [(f"{in_words(key)} not", choice) for key, choice in self.without.items()]
        texts = [f"{key} {', '.join(choice) if isinstance(choice, tuple) else choice}" for key, choice in pairs]
        return ", ".join([in_words(self.value), *texts])

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample."""
        cells = self.cells(data, [], [self.value])
        return [Sample(cells.table.groupby(cells.unit)[self.value].mean().to_numpy(float), cells.ids)]


@STATISTICS.register("csv_column")
class CsvColumn(Statistic):
    """Mean of the column `column` over the lines of `file` that have the values of `where`.

    file: a name in the folder of CSV files. unit_column: a column whose lines belong together and are averaged first,
    where lines are not independent; by default, each line is a unit.
    """

    unit: ClassVar[str] = "units"

    file: str
    column: str
    where: Mapping[str, Choice] = {}
    unit_column: str | None = None

    @property
    def effect(self) -> str:
        """The column."""
        return in_words(self.column)

    @property
    def reads(self) -> str:
        """The file."""
        return self.file

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample.

        Raises UntestedError where there is no such file or line, UserError where a column is missing or not a number.
        """
        path = None if data.folder is None else data.folder / self.file
        if path is None or not path.is_file():
            raise UntestedError(f"there is no file {self.file}")
        try:
            table = pd.read_csv(path, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as CSV ({str(error).splitlines()[0]})") from None
        for name in [self.column, *self.where, *([self.unit_column] if self.unit_column else [])]:
            if name not in table.columns:
                raise UserError(f"{path}: lacks the column '{name}'; has: {', '.join(table.columns)}")
        for key, choice in self.where.items():
            table = table[are_among(table[key], choice)]
        if table.empty:
            raise UntestedError(f"{self.file} has no such lines")
        values = pd.to_numeric(table[self.column], errors="coerce").astype(float)
        if values.isna().any():
            raise UserError(f"{path}: column '{self.column}' is not a number throughout")
        if self.unit_column:
            values = values.groupby(table[self.unit_column]).mean()
        return [Sample(values.to_numpy(float))]
