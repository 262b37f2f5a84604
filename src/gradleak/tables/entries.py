"""The spec of a table, and the entries that the table of an experiment has."""

import itertools
import math
from typing import Literal, Self

from pydantic import Field, model_validator

from gradleak.resources import published_names
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.published_join import Published
from gradleak.tables.spec import PresentationSpec
from gradleak.tables.summary import cell_table, ordered, summarise

#: One entry of a table: row labels, `column`, `metric`, `value`, `std`, `trials`, `published`.
Entry = dict[str, object]


class TableSpec(PresentationSpec):
    """A table: one row per combination of `rows` and per value, one column per value of `columns`.

    values: metrics, rates or numeric columns, each averaged over trials. bold_above / bold_below set entries
    of `bold_value` (default: the first value) in bold. published: name of the paper's table to compare with.
    wide: over both columns of a two-column page.
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.keys)) != len(self.keys) or len(set(self.values)) != len(self.values):
            raise ValueError("rows, columns and values must not repeat a name")
        if self.published is not None and self.published not in published_names():
            raise ValueError(f"no published values '{self.published}'; known: {', '.join(published_names())}")
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
    paper = Published(spec.published) if spec.published else None
    extra = [label for label in paper.labels if label not in spec.keys] if paper else []
    cells = cell_table(data.results, experiment, [*spec.keys, *extra], list(spec.values))
    summary = summarise(cells, spec.keys, list(spec.values))
    by_entry = {(*(row[key] for key in spec.keys), row["metric"]): row for row in summary.to_dict("records")}
    where = f"experiment '{experiment.name}'"
    fixed = paper.fixed_labels(cells, spec.keys, where) if paper else {}
    rows = list(dict.fromkeys(zip(*(cells[row] for row in spec.rows), strict=True))) if spec.rows else [()]
    entries: list[Entry] = []
    for row, metric, column in itertools.product(rows, spec.values, ordered(cells[spec.columns])):
        labels = dict(zip(spec.rows, row, strict=True))
        printed = math.nan
        if paper:
            known = {**labels, spec.columns: column, **fixed.get((*row, column), {})}
            printed = paper.value(known, column, metric)
        found = by_entry.get((*row, column, metric), {"value": math.nan, "std": math.nan, "trials": 0})
        if found["trials"] or not math.isnan(printed):
            measured = {key: found[key] for key in ("value", "std", "trials")}
            entries.append({**labels, "column": column, "metric": metric, **measured, "published": printed})
    return entries


def number(value: object) -> float:
    """A numeric field of an entry as float."""
    assert isinstance(value, int | float)
    return float(value)
