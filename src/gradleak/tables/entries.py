"""The spec of a table, and the entries that the table of an experiment has."""

import itertools
import math
from typing import Literal, Self

from pydantic import Field, model_validator

from gradleak.resources import published, published_labels, published_names
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.published_join import COLUMN, Published
from gradleak.tables.spec import PresentationSpec
from gradleak.tables.summary import cell_table, ordered, summarise

#: One entry of a table: row labels, `column`, `metric`, `value`, `std`, `trials`, `published`, `published_as`.
Entry = dict[str, object]


class TableSpec(PresentationSpec):
    """A table: one row per combination of `rows` and per value, one column per value of `columns`.

    values: metrics, rates or numeric columns, each averaged over trials. bold_above / bold_below set entries
    of `bold_value` (default: the first value) in bold. wide: over both columns of a two-column page.

    published: name of the paper's table (`table1`, ...) to compare with. An entry is compared with the published
    value that has the same labels, whether the table groups by them or not; a label that the study does not have
    is looked for in the columns of the results (`attack_knowledge`). published_as: for a label of the published
    table that the study calls otherwise or fills otherwise, the study's label or column to compare instead. With
    `published_as: {dataset: paper}`, cells labelled `dataset: photos10, paper: CIFAR10` stand in a row `photos10`
    beside the paper's values for CIFAR10, and say so. `column` stands for the headings over the published values; rows
    without a counterpart in the paper get a name that the paper does not have, such as `paper: none`.
    """

    kind: Literal["table"] = "table"
    rows: tuple[str, ...] = ()
    columns: str
    column_label: str | None = None
    values: tuple[str, ...] = Field(("lpips",), min_length=1)
    bold_above: float | None = None
    bold_below: float | None = None
    bold_value: str | None = None
    show_std: bool = True
    wide: bool = True
    published: str | None = None
    published_as: dict[str, str] = Field({})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.keys)) != len(self.keys) or len(set(self.values)) != len(self.values):
            raise ValueError("rows, columns and values must not repeat a name")
        if self.published is not None and self.published not in published_names():
            raise ValueError(f"no published values '{self.published}'; known: {', '.join(published_names())}")
        known = [*published_labels(published(self.published)), COLUMN] if self.published else []
        unknown = [label for label in self.published_as if label not in known]
        if unknown:
            has = f"published '{self.published}' has: {', '.join(known)}" if known else "needs the key 'published'"
            raise ValueError(f"published_as: unknown label '{unknown[0]}'; {has}")
        if self.bold_value is not None and self.bold_value not in self.values:
            raise ValueError(f"bold_value must be one of values: {', '.join(self.values)}")
        return self

    @property
    def keys(self) -> list[str]:
        """Row labels and column together."""
        return [*self.rows, self.columns]

    def columns_used(self) -> list[str]:
        """Row labels and column together."""
        return self.keys

    def bold(self, metric: str, value: float) -> bool:
        """Whether an entry is set in bold."""
        if metric != (self.bold_value or self.values[0]):
            return False
        above = self.bold_above is not None and value > self.bold_above
        below = self.bold_below is not None and value < self.bold_below
        return above or below


def table_entries(spec: TableSpec, experiment: Experiment, data: StudyData) -> list[Entry]:
    """The table's entries in reading order.

    An entry that the study has no cell for appears only where the paper has a value for it: trials
    0, value NaN. Raises UserError for an unknown column, a cell without results, or published values that do
    not fit.
    """
    where = f"experiment '{experiment.name}'"
    paper = Published(spec.published, spec.columns, spec.published_as) if spec.published else None
    extra = paper.beside(spec.keys) if paper else []
    cells = cell_table(data.results, experiment, [*spec.keys, *extra], list(spec.values))
    summary = summarise(cells, spec.keys, list(spec.values))
    by_entry = {(*(row[key] for key in spec.keys), row["metric"]): row for row in summary.to_dict("records")}
    apart = paper.apart(cells, spec.keys, where) if paper else {}
    rows = list(dict.fromkeys(zip(*(cells[row] for row in spec.rows), strict=True))) if spec.rows else [()]
    entries: list[Entry] = []
    matched = False
    for row, metric, column in itertools.product(rows, spec.values, ordered(cells[spec.columns])):
        labels = dict(zip(spec.rows, row, strict=True))
        printed, named = None, ""
        if paper:
            own = apart.get((*row, column)) or _shared(apart, row)
            printed = paper.find({**labels, spec.columns: column, **own}, metric)
            sources = [spec.published_as[label] for label in spec.published_as if label != COLUMN]
            named = ", ".join(str(own[source]) for source in sources if source in own)
            matched = matched or printed is not None
        found = by_entry.get((*row, column, metric), {"value": math.nan, "std": math.nan, "trials": 0})
        value = math.nan if printed is None else printed
        if found["trials"] or not math.isnan(value):
            measured = {key: found[key] for key in ("value", "std", "trials")}
            compared = {"published": value, "published_as": "" if math.isnan(value) else named}
            entries.append({**labels, "column": column, "metric": metric, **measured, **compared})
    if paper and not matched:
        raise paper.unmatched({str(key): value for key, value in cells.iloc[0].items()}, where)
    return entries


def _shared(apart: dict[tuple[object, ...], dict[str, object]], row: tuple[object, ...]) -> dict[str, object]:
    """What the entries of one row agree on: holds for an entry of that row without cells, too."""
    of_row = [own for entry, own in apart.items() if entry[:-1] == row]
    return {key: value for key, value in of_row[0].items() if all(own[key] == value for own in of_row)}


def number(value: object) -> float:
    """A numeric field of an entry as float."""
    assert isinstance(value, int | float)
    return float(value)
