"""Choosing the cells of an experiment that a statistic reads, and the trial to which each belongs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

import pandas as pd
from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from gradleak.analysis.summary import RATES, attacked, cell_table, select
from gradleak.claims.base import ClaimData, Statistic, UntestedError
from gradleak.errors import UserError
from gradleak.frozen import Frozen
from gradleak.presentations.base import as_text

TRIAL = "trial"


class Range(Frozen):
    """Numbers from `least` to `most`, both included."""

    model_config = ConfigDict(allow_inf_nan=True)

    least: float = float("-inf")
    most: float = float("inf")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.least <= self.most or (self.least, self.most) == (float("-inf"), float("inf")):
            raise ValueError("needs least, most or both, and least must not be above most")
        return self

    def holds(self, value: object) -> bool:
        """Whether a number is in the range. Text never is."""
        return isinstance(value, int | float) and self.least <= value <= self.most

    def __str__(self) -> str:
        bounds = [(self.least, "from {:g}"), (self.most, "to {:g}")]
        return " ".join(text.format(value) for value, text in bounds if abs(value) != float("inf"))


def _listed(value: object) -> object:
    return tuple(as_text(item) for item in (value if isinstance(value, list | tuple) else [value]))


Values = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Choice = Annotated[
    Annotated[Values, Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, Mapping | Range) else "values"),
]


def among(value: object, choice: tuple[str, ...] | Range) -> bool:
    """Whether a value of a label or column is in the choice. Upper and lower case are the same."""
    if isinstance(choice, Range):
        return choice.holds(value)
    return as_text(value).casefold() in {item.casefold() for item in choice}


def are_among(column: pd.Series, choice: tuple[str, ...] | Range) -> pd.Series:
    """`among` for each value of a column."""
    return column.map(lambda value: among(value, choice)).astype(bool)


class CellStatistic(Statistic):
    """A statistic of the cells of one experiment.

    where: labels or columns and the values (a list, or `least` and `most`) of the cells that are read. without: the
    values of those that are not. apart: labels or columns that keep trials of the same number apart, because they
    attack other images (data sets) or other models; those that the study does not have are left out.

    The unit is the trial: cells that attack the same images (seeds, attacks, settings) are not independent and are
    averaged first.
    """

    experiment: str
    where: Mapping[str, Choice] = {}
    without: Mapping[str, Choice] = {}
    apart: tuple[str, ...] = ("dataset_name",)

    @property
    def reads(self) -> str:
        """The experiment's name."""
        return self.experiment

    def cells(
        self, data: ClaimData, keys: Sequence[str], values: Sequence[str], optional: Sequence[str] = ()
    ) -> "Cells":
        """The chosen cells with keys, values, those of `optional` and `apart` that the study has, and `TRIAL`.

        Raises UntestedError where the study lacks the experiment, a key, a value, or cells to choose.
        """
        experiment = data.experiments.get(self.experiment)
        if experiment is None:
            raise UntestedError(f"the study has no experiment '{self.experiment}'")
        try:
            experiment = attacked(data.results, experiment)
        except UserError as error:
            raise UntestedError(str(error)) from None
        known = {*experiment.labels, *map(str, data.results.columns)} - {"cell_id"}
        needed = list(dict.fromkeys([*keys, *self.where, *self.without]))
        for name in [*needed, *(value for value in values if value not in RATES)]:
            if name not in known:
                raise UntestedError(f"experiment '{self.experiment}' has no '{name}'")
        apart = [name for name in self.apart if name in known]
        extra = [name for name in optional if name in known]
        used = list(dict.fromkeys([*needed, *extra, *apart]))
        table = cell_table(data.results, experiment, used, [])
        chosen = self._choose(table)
        experiment = replace(experiment, cells=experiment.cells[chosen.to_numpy()])
        rows = select(data.results, experiment)
        for name in values:
            if name in rows.columns and name not in experiment.labels and rows[name].isna().all():
                raise UntestedError(f"experiment '{self.experiment}' has no values of '{name}'")
        found = cell_table(data.results, experiment, used, list(values))
        found[TRIAL] = found["cell_id"].map(_trials(rows))
        return Cells(found, [*apart, TRIAL], extra)

    def _choose(self, table: pd.DataFrame) -> pd.Series:
        chosen = pd.Series(True, index=table.index)
        for key, choice in self.where.items():
            own = are_among(table[key], choice)
            if not (chosen & own).any():
                named = str(choice) if isinstance(choice, Range) else ", ".join(choice)
                has = ", ".join(as_text(value) for value in dict.fromkeys(table[key][chosen]))
                raise UntestedError(f"experiment '{self.experiment}' has no cells with {key} {named} (has {has})")
            chosen &= own
        for key, choice in self.without.items():
            chosen &= ~are_among(table[key], choice)
        if not chosen.any():
            raise UntestedError(f"experiment '{self.experiment}' has no cells without {', '.join(self.without)}")
        return chosen


@dataclass(frozen=True)
class Cells:
    """Chosen cells: `table`, one row per cell; `unit`, its columns that tell units apart; `extra`, optional ones."""

    table: pd.DataFrame
    unit: list[str]
    extra: list[str]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the cells."""
        return tuple(dict.fromkeys(self.table["cell_id"]))


def _trials(rows: pd.DataFrame) -> pd.Series:
    """Number of each cell's trial, by cell_id: the rank of its first victim among those that it could have had.

    Trial i of a study attacks the i-th batch of a data set. Cells with the same first victim, data set (with its
    classes) and number of samples attack the same images.
    """
    first = rows.sort_values("position", kind="stable").drop_duplicates("cell_id").set_index("cell_id")
    group = [str(name) for name in first.columns if str(name).startswith("dataset_")] + ["client_samples"]
    return first.groupby(group, dropna=False)["image"].rank(method="dense").astype(int)
