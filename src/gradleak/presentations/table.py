"""The presentation `table`: means over trials, the paper's values beside ours."""

import csv
import io
import itertools
import math
from typing import ClassVar, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.published import COLUMN, Published, published, published_labels, published_names
from gradleak.analysis.summary import cell_table, ordered, summarise
from gradleak.presentations import markup
from gradleak.presentations.base import PRESENTATIONS, Presentation, PresentationSpec, quantity

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


def table_latex(spec: TableSpec, experiment: Experiment, study: str, entries: list[Entry]) -> str:
    """The table as a LaTeX environment: published values in small grey type under those of the study."""
    columns = ordered(pd.Series([entry["column"] for entry in entries], dtype=object))
    labels = [markup.escape(spec.heading(row)) for row in spec.rows] + (["Metric"] if _names_metric(spec) else [])
    title = markup.escape(spec.column_label or spec.heading(spec.columns))
    heading = [
        markup.line([*([""] * len(labels)), rf"\multicolumn{{{len(columns)}}}{{c}}{{{title}}}"]),
        rf"\cmidrule(l){{{len(labels) + 1}-{len(labels) + len(columns)}}}",
        markup.line([*labels, *(markup.escape(spec.shown(column)) for column in columns)]),
    ]
    body = _body(spec, entries, columns, len(labels))
    caption = _caption(spec, experiment, study, entries)
    stem = f"{experiment.name}_{spec.suffix}" if spec.suffix else experiment.name
    return markup.frame(body, heading, len(labels), len(columns), caption, f"{study}-{stem}", spec.wide)


def _names_metric(spec: TableSpec) -> bool:
    return len(spec.values) > 1 or not spec.rows


def _body(spec: TableSpec, entries: list[Entry], columns: list[object], labels: int) -> list[str]:
    lines: dict[tuple[object, ...], dict[object, Entry]] = {}
    for entry in entries:
        key = (*(entry[row] for row in spec.rows), entry["metric"])
        lines.setdefault(key, {})[entry["column"]] = entry
    body: list[str] = []
    above: list[str] = []
    for key, found in lines.items():
        texts = [markup.escape(spec.shown(value)) for value in key[:-1]]
        texts += [markup.escape(quantity(str(key[-1]), spec).title)] if _names_metric(spec) else []
        if above and texts[0] != above[0]:
            body.append(r"\addlinespace")
        pairs = zip(texts, above or [""] * labels, strict=True)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        cells = [_entry(spec, found.get(column)) for column in columns]
        body.append(markup.line([*([""] * same), *texts[same:], *cells]))
        if any(not math.isnan(number(entry["published"])) for entry in found.values()):
            named = ", ".join(
                dict.fromkeys(str(entry["published_as"]) for entry in found.values() if entry["published_as"])
            )
            text = markup.escape(f"published ({named})" if named else "published")
            side = [""] * (labels - 1) + [markup.small_grey(text)]
            body.append(markup.line([*side, *(_paper_entry(spec, found.get(column)) for column in columns)]))
        above = texts
    return body


def _entry(spec: TableSpec, entry: Entry | None) -> str:
    if entry is None or not entry["trials"]:
        return "--"
    value, std = number(entry["value"]), number(entry["std"])
    shape = quantity(str(entry["metric"]), spec)
    text = shape.text(value)
    if spec.bold(str(entry["metric"]), value):
        text = rf"\textbf{{{text}}}"
    if spec.show_std and not math.isnan(std):
        text += rf"\,{{\scriptsize$\pm${shape.text(std).removeprefix('0')}}}"
    return text


def _paper_entry(spec: TableSpec, entry: Entry | None) -> str:
    if entry is None or math.isnan(number(entry["published"])):
        return ""
    return markup.small_grey(quantity(str(entry["metric"]), spec).text(number(entry["published"])))


def _caption(spec: TableSpec, experiment: Experiment, study: str, entries: list[Entry]) -> str:
    grey = any(not math.isnan(number(entry["published"])) for entry in entries)
    counts = sorted({int(number(entry["trials"])) for entry in entries if entry["trials"]})
    trials = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    names = ", ".join(markup.escape(quantity(value, spec).title) for value in spec.values)
    parts = [markup.escape(experiment.title.rstrip(".")) + "."]
    if counts == [1]:
        parts.append(f"{names}; one trial per entry.")
    else:
        spread = r" $\pm$ standard deviation" if spec.show_std else ""
        parts.append(f"{names}: mean{spread} over {trials} trials per entry.")
    for bound, word in ((spec.bold_above, "above"), (spec.bold_below, "below")):
        if bound is not None:
            shape = quantity(spec.bold_value or spec.values[0], spec)
            parts.append(f"Bold: {markup.escape(shape.name)} {word} {bound:g}.")
    parts.append(
        rf"All values come from study \texttt{{{markup.escape(study)}}}"
        + (", except those in small grey type, which the paper published." if grey else ".")
    )
    return " ".join(parts)


@PRESENTATIONS.register("table")
class Table(Presentation):
    """Writes `<name>.csv` (one line per entry and metric) and `<name>.tex`."""

    Spec = TableSpec
    stage: ClassVar[Literal["tables", "figures"]] = "tables"
    endings = (".csv", ".tex")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Both files; raises UserError for an unknown column or a cell without results."""
        assert isinstance(spec, TableSpec)
        entries = table_entries(spec, experiment, data)
        return {
            ".csv": _csv(spec, entries).encode(),
            ".tex": table_latex(spec, experiment, data.study, entries).encode(),
        }


def _csv(spec: TableSpec, entries: list[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = [*spec.rows, "column", "metric"]
    named = ["published_as"] if spec.published_as else []
    writer.writerow([*head, "value", "std", "trials", "published", "difference", *named])
    for entry in entries:
        value, std, paper = (number(entry[key]) for key in ("value", "std", "published"))
        numbers = [_fixed(value), _fixed(std), entry["trials"], _fixed(paper), _fixed(value - paper)]
        writer.writerow([*(entry[key] for key in head), *numbers, *(entry[key] for key in named)])
    return text.getvalue()


def _fixed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"
