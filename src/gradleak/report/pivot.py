"""A table as in the paper, rows x columns, from its CSV file: published values below the study's."""

import itertools
import math
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from gradleak.analysis.summary import ordered
from gradleak.presentations.base import Quantity, quantity
from gradleak.presentations.table import TableSpec
from gradleak.report.read import is_number, number_of
from gradleak.report.tables import Column, Field, HtmlTable, html

NUMBERS = ("value", "std", "trials", "published")
_Entries = dict[object, dict[str, str]]


def needed(spec: TableSpec) -> list[str]:
    """Columns that the CSV file of a table has beside `NUMBERS`."""
    return [*spec.rows, "column", "metric"]


def rows_by_columns(spec: TableSpec, rows: Sequence[dict[str, str]]) -> HtmlTable:
    """The table."""
    columns = ordered(pd.Series([_typed(row["column"]) for row in rows], dtype=object))
    named = len(spec.values) > 1 or not spec.rows
    labels = [*map(spec.heading, spec.rows), *(["Metric"] if named else [])]
    lines: dict[tuple[str, ...], _Entries] = {}
    for row in rows:
        key = (*(row[name] for name in spec.rows), row["metric"])
        lines.setdefault(key, {})[_typed(row["column"])] = row
    body: list[tuple[Field, ...]] = []
    above: list[str] = []
    for key, found in lines.items():
        shape = quantity(key[-1], spec)
        texts = [spec.shown(_typed(value)) for value in key[:-1]] + ([shape.title] if named else [])
        pairs = zip(texts, above or [""] * len(texts), strict=True)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        group = "group" if above and not same else ""
        left = [Field(html("" if i < same else text), style=f"label {group}") for i, text in enumerate(texts)]
        values = [_ours(spec, key[-1], found.get(column), shape, group) for column in columns]
        body.append((*left, *values))
        if any(row["published"] for row in found.values()):
            body.append(_published(found, columns, shape, len(labels)))
        above = texts
    heads = [Column(html(label)) for label in labels]
    heads += [Column(html(spec.shown(column)), numeric=True) for column in columns]
    return HtmlTable(tuple(heads), tuple(body), html(spec.column_label or spec.heading(spec.columns)), len(labels))


def caption(spec: TableSpec, rows: Sequence[dict[str, str]]) -> str:
    """What the numbers of a table are, in words."""
    trials = sorted({int(float(row["trials"])) for row in rows if row["trials"]} - {0}) or [0]
    many = f"{trials[0]} to {trials[-1]}" if len(trials) > 1 else str(trials[0])
    spread = " ± standard deviation" if spec.show_std and trials[-1] > 1 else ""
    parts = [f"Mean{spread} over {many} trials per entry." if trials[-1] > 1 else "One trial per entry."]
    for bound, word in ((spec.bold_above, "above"), (spec.bold_below, "below")):
        if bound is not None:
            parts.append(f"Bold: {quantity(spec.bold_value or spec.values[0], spec).name} {word} {bound:g}.")
    if any(row["published"] for row in rows):
        parts.append("Small: what the paper published.")
    return " ".join(parts)


def _typed(text: str) -> int | float | str:
    if not is_number(text):
        return text
    number = float(text)
    return int(number) if number.is_integer() else number


def _ours(spec: TableSpec, metric: str, row: dict[str, str] | None, shape: Quantity, group: str) -> Field:
    if row is None or math.isnan(number_of(row["value"])):
        return Field(html("–"), style=f"number {group}")
    value, std = number_of(row["value"]), number_of(row["std"])
    text = html(shape.text(value))
    if spec.bold(metric, value):
        text = Markup("<strong>{}</strong>").format(text)
    if spec.show_std and not math.isnan(std):
        text += Markup(' <small class="std">±{}</small>').format(shape.text(std))
    return Field(text, style=f"number {group}")


def _published(found: _Entries, columns: Sequence[object], shape: Quantity, labels: int) -> tuple[Field, ...]:
    names = dict.fromkeys(row["published_as"] for row in found.values() if row.get("published_as"))
    name = f"published ({', '.join(names)})" if names else "published"
    left = [Field(html(""), style="paper label")] * (labels - 1) + [Field(html(name), style="paper label")]
    values = []
    for column in columns:
        value = math.nan if column not in found else number_of(found[column]["published"])
        values.append(Field(html("" if math.isnan(value) else shape.text(value)), style="paper number"))
    return (*left, *values)
