"""LaTeX of a table: rows x columns as in the paper."""

import itertools
import math

import pandas as pd

from gradleak.tables import latex
from gradleak.tables.entries import Entry, TableSpec, number
from gradleak.tables.plan import Experiment
from gradleak.tables.quantities import quantity
from gradleak.tables.summary import ordered


def table_latex(spec: TableSpec, experiment: Experiment, study: str, entries: list[Entry]) -> str:
    """The table as a LaTeX environment: published values in small grey type under those of the study."""
    columns = ordered(pd.Series([entry["column"] for entry in entries], dtype=object))
    labels = [latex.escape(spec.heading(row)) for row in spec.rows] + (["Metric"] if _names_metric(spec) else [])
    title = latex.escape(spec.column_label or spec.heading(spec.columns))
    heading = [
        latex.line([*([""] * len(labels)), rf"\multicolumn{{{len(columns)}}}{{c}}{{{title}}}"]),
        rf"\cmidrule(l){{{len(labels) + 1}-{len(labels) + len(columns)}}}",
        latex.line([*labels, *(latex.escape(spec.shown(column)) for column in columns)]),
    ]
    body = _body(spec, entries, columns, len(labels))
    caption = _caption(spec, experiment, study, entries)
    stem = f"{experiment.name}_{spec.suffix}" if spec.suffix else experiment.name
    return latex.frame(body, heading, len(labels), len(columns), caption, f"{study}-{stem}", spec.wide)


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
        texts = [latex.escape(spec.shown(value)) for value in key[:-1]]
        texts += [latex.escape(quantity(str(key[-1]), spec).title)] if _names_metric(spec) else []
        if above and texts[0] != above[0]:
            body.append(r"\addlinespace")
        pairs = zip(texts, above or [""] * labels, strict=True)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        cells = [_entry(spec, found.get(column)) for column in columns]
        body.append(latex.line([*([""] * same), *texts[same:], *cells]))
        if any(not math.isnan(number(entry["published"])) for entry in found.values()):
            named = ", ".join(
                dict.fromkeys(str(entry["published_as"]) for entry in found.values() if entry["published_as"])
            )
            text = latex.escape(f"published ({named})" if named else "published")
            side = [""] * (labels - 1) + [latex.small_grey(text)]
            body.append(latex.line([*side, *(_paper_entry(spec, found.get(column)) for column in columns)]))
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
    return latex.small_grey(quantity(str(entry["metric"]), spec).text(number(entry["published"])))


def _caption(spec: TableSpec, experiment: Experiment, study: str, entries: list[Entry]) -> str:
    grey = any(not math.isnan(number(entry["published"])) for entry in entries)
    counts = sorted({int(number(entry["trials"])) for entry in entries if entry["trials"]})
    trials = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    names = ", ".join(latex.escape(quantity(value, spec).title) for value in spec.values)
    parts = [latex.escape(experiment.title.rstrip(".")) + "."]
    if counts == [1]:
        parts.append(f"{names}; one trial per entry.")
    else:
        spread = r" $\pm$ standard deviation" if spec.show_std else ""
        parts.append(f"{names}: mean{spread} over {trials} trials per entry.")
    for bound, word in ((spec.bold_above, "above"), (spec.bold_below, "below")):
        if bound is not None:
            shape = quantity(spec.bold_value or spec.values[0], spec)
            parts.append(f"Bold: {latex.escape(shape.name)} {word} {bound:g}.")
    parts.append(
        rf"All values come from study \texttt{{{latex.escape(study)}}}"
        + (", except those in small grey type, which the paper published." if grey else ".")
    )
    return " ".join(parts)
