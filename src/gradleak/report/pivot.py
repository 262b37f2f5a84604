"""A table as in the paper, rows x columns, from its CSV file: published values below the study's."""

import math
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from gradleak.analysis.summary import DIVERGED, ordered
from gradleak.presentations import divergence, markup
from gradleak.presentations.base import Quantity
from gradleak.presentations.table import Table
from gradleak.report.read import is_number, number_of
from gradleak.report.tables import Column, Field, HtmlTable, html

NUMBERS = ("value", "std", "trials", "published")
_Entries = dict[object, dict[str, str]]


def needed(table: Table) -> list[str]:
    """Columns that the CSV file of a table has beside `NUMBERS`."""
    return [*table.rows, "column", "metric"]


def rows_by_columns(table: Table, rows: Sequence[dict[str, str]]) -> HtmlTable:
    """The table."""
    columns = ordered(pd.Series([_typed(row["column"]) for row in rows], dtype=object))
    labels = [*map(table.heading, table.rows), *(["Metric"] if table.names_metric else [])]
    lines: dict[tuple[str, ...], _Entries] = {}
    for row in rows:
        key = (*(row[name] for name in table.rows), row["metric"])
        lines.setdefault(key, {})[_typed(row["column"])] = row
    most = max((number_of(row["trials"]) for row in rows), default=0)
    body: list[tuple[Field, ...]] = []
    above: list[str] = []
    for key, found in lines.items():
        shape = table.quantity(key[-1])
        texts = [table.shown(_typed(value)) for value in key[:-1]] + ([shape.title] if table.names_metric else [])
        same = markup.same(texts, above)
        group = "group" if above and not same else ""
        left = [Field(html("" if i < same else text), style=f"label {group}") for i, text in enumerate(texts)]
        values = [_ours(table, key[-1], found.get(column), shape, group, most) for column in columns]
        body.append((*left, *values))
        if any(row["published"] for row in found.values()):
            body.append(_published(found, columns, shape, len(labels)))
        above = texts
    heads = [Column(html(label)) for label in labels]
    heads += [Column(html(table.shown(column)), numeric=True) for column in columns]
    return HtmlTable(tuple(heads), tuple(body), html(table.column_label or table.heading(table.columns)), len(labels))


def caption(table: Table, rows: Sequence[dict[str, str]]) -> str:
    """What the numbers of a table are, in words."""
    trials = sorted({int(float(row["trials"])) for row in rows if row["trials"]} - {0}) or [0]
    many = f"{trials[0]} to {trials[-1]}" if len(trials) > 1 else str(trials[0])
    spread = " ± standard deviation" if table.show_std and trials[-1] > 1 else ""
    parts = [f"Mean{spread} over {many} trials per entry." if trials[-1] > 1 else "One trial per entry."]
    parts += [markup.FEWER] * (len(trials) > 1)
    for bound, word in ((table.bold_above, "above"), (table.bold_below, "below")):
        if bound is not None:
            parts.append(f"Bold: {table.quantity(table.bold_value or table.values[0]).name} {word} {bound:g}.")
    if mark := divergence.explained(divergence.DAGGER, map(_diverged, rows), trials[-1]):
        parts.append(mark)
    if any(row["published"] for row in rows):
        parts.append("Small: what the paper published.")
    return " ".join(parts)


def _typed(text: str) -> int | float | str:
    if not is_number(text):
        return text
    number = float(text)
    return int(number) if number.is_integer() else number


def _diverged(row: dict[str, str]) -> bool:
    """Whether the client diverged in some trial of a row."""
    return number_of(row.get(DIVERGED, "")) > 0


def _ours(table: Table, metric: str, row: dict[str, str] | None, shape: Quantity, group: str, most: float) -> Field:
    if row is None or math.isnan(number_of(row["value"])):
        return Field(html("–"), style=f"number {group}")
    value, std = number_of(row["value"]), number_of(row["std"])
    text = html(shape.text(value))
    if table.bold(metric, value):
        text = Markup("<strong>{}</strong>").format(text)
    text += html(divergence.DAGGER * _diverged(row))
    if table.show_std and not math.isnan(std):
        text += Markup(' <small class="std">±{}</small>').format(shape.text(std))
    if number_of(row["trials"]) < most:
        text += html(f" ({row['trials']})")
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
