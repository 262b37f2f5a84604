"""The presentation `table`: means over trials, the paper's values beside ours."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.published import COLUMN, Published, published, published_labels, published_names, source_of
from gradleak.analysis.summary import DIVERGED, cell_table, ordered, summarise
from gradleak.analysis.text import csv_text, fixed
from gradleak.presentations import divergence, markup
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled


@dataclass(frozen=True)
class Entry:
    """One entry of a table: the values of its `rows` and `columns`, the metric, and the mean over trials.

    value, std: NaN where there is none. diverged: in how many trials the client diverged. published: the
    published value, NaN where there is none; published_as: what its source calls the entry's labels, where the study
    calls them otherwise.
    """

    row: tuple[object, ...]
    column: object
    metric: str
    value: float = math.nan
    std: float = math.nan
    trials: int = 0
    diverged: int = 0
    published: float = math.nan
    published_as: str = ""


@PRESENTATIONS.register("table")
class Table(Presentation):
    """A table: one row per combination of `rows` and per value, one column per value of `columns`.

    values: metrics, rates or numeric columns, each averaged over trials. bold_above / bold_below set entries
    of `bold_value` (default: the first value) in bold. wide: over both columns of a two-column page. An entry
    with fewer trials than another one says how many, for its mean is of other victims.

    published: name of a published table (`table1`, ..., `guo_batch`, ...) to compare with. An entry is compared with
    the published value that has the same labels, whether the table groups by them or not; a label that the study does
    not have is looked for in the columns of the results (`attack_knowledge`). published_as: for a label of the
    published table that the study calls otherwise or fills otherwise, the study's label or column to compare instead.
    With `published_as: {dataset: paper}`, cells labelled `dataset: photos10, paper: CIFAR10` stand in a row `photos10`
    beside the paper's values for CIFAR10, and say so. `column` stands for the headings over the published values; rows
    without a counterpart in the paper get a name that the paper does not have, such as `paper: none`.

    Where a client diverged, a dagger stands behind the number, and the CSV file has a column `diverged`: in how many
    trials.

    Writes `<name>.csv` (one line per entry and metric) and `<name>.tex`.
    """

    stage = "tables"
    endings = (".csv", ".tex")

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

    @property
    def names_metric(self) -> bool:
        """Whether rows say which metric they show: where there are several, or no other labels."""
        return len(self.values) > 1 or not self.rows

    def bold(self, metric: str, value: float) -> bool:
        """Whether an entry is set in bold."""
        if metric != (self.bold_value or self.values[0]):
            return False
        above = self.bold_above is not None and value > self.bold_above
        below = self.bold_below is not None and value < self.bold_below
        return above or below

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        self._entries(experiment, data)

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Both files; raises UserError for an unknown column, a cell without results, or published values that do not
        fit.
        """
        entries = self._entries(experiment, data)
        return {
            ".csv": self._csv(entries).encode(),
            ".tex": self._latex(experiment, data, entries).encode(),
        }

    def _entries(self, experiment: Experiment, data: StudyData) -> list[Entry]:
        """The table's entries in reading order; one without a cell appears only where the paper has a value for it."""
        where = f"experiment '{experiment.name}'"
        paper = Published(self.published, self.columns, self.published_as) if self.published else None
        extra = paper.beside(self.keys) if paper else []
        cells = cell_table(data.results, experiment, [*self.keys, *extra], list(self.values))
        cells = divergence.marked(cells, data.results, experiment)
        means = summarise(cells, self.keys, list(self.values)).to_dict("records")
        found = {(*(mean[key] for key in self.keys), mean["metric"]): mean for mean in means}
        apart = paper.apart(cells, self.keys, where) if paper else {}
        rows = list(dict.fromkeys(zip(*(cells[row] for row in self.rows), strict=True))) if self.rows else [()]
        entries: list[Entry] = []
        matched = False
        for row, metric, column in itertools.product(rows, self.values, ordered(cells[self.columns])):
            entry = Entry(row, column, metric)
            if mean := found.get((*row, column, metric)):
                numbers = {name: mean[name] for name in ("value", "std", "trials", DIVERGED) if name in mean}
                entry = replace(entry, **numbers)
            if paper:
                own = apart.get((*row, column)) or _shared(apart, row)
                labels = dict(zip(self.rows, row, strict=True))
                printed = paper.find({**labels, self.columns: column, **own}, metric)
                matched = matched or printed is not None
                if printed is not None and not math.isnan(printed):
                    entry = replace(entry, published=printed, published_as=self._called(own))
            if entry.trials or not math.isnan(entry.published):
                entries.append(entry)
        if paper and not matched:
            raise paper.unmatched({str(key): value for key, value in cells.iloc[0].items()}, where)
        return entries

    def _called(self, own: Mapping[str, object]) -> str:
        """What the paper calls an entry's labels, where the study calls them otherwise."""
        sources = [source for label, source in self.published_as.items() if label != COLUMN]
        return ", ".join(str(own[source]) for source in sources if source in own)

    def _csv(self, entries: list[Entry]) -> str:
        named = ["published_as"] if self.published_as else []
        marks = any(entry.diverged for entry in entries)
        numbers = ["value", "std", "trials", "published", "difference"]
        rows = [
            [
                *(*entry.row, entry.column, entry.metric),
                *(fixed(entry.value), fixed(entry.std), entry.trials),
                *(fixed(entry.published), fixed(entry.value - entry.published)),
                *([entry.published_as] if named else []),
                *([entry.diverged] if marks else []),
            ]
            for entry in entries
        ]
        return csv_text([[*self.rows, "column", "metric", *numbers, *named, *([DIVERGED] if marks else [])], *rows])

    def _latex(self, experiment: Experiment, data: StudyData, entries: list[Entry]) -> str:
        """The table as a LaTeX environment: published values in small grey type under those of the study."""
        columns = ordered(pd.Series([entry.column for entry in entries], dtype=object))
        labels = [markup.escape(self.heading(row)) for row in self.rows] + (["Metric"] if self.names_metric else [])
        title = markup.escape(self.column_label or self.heading(self.columns))
        heading = [
            markup.line([*([""] * len(labels)), rf"\multicolumn{{{len(columns)}}}{{c}}{{{title}}}"]),
            rf"\cmidrule(l){{{len(labels) + 1}-{len(labels) + len(columns)}}}",
            markup.line([*labels, *(markup.escape(self.shown(column)) for column in columns)]),
        ]
        body = self._body(entries, columns, len(labels))
        caption = self._caption(titled(experiment, data.results), data.study, entries)
        name = f"{data.study}-{self.stem(experiment.name)}"
        return markup.frame(body, heading, len(labels), len(columns), caption, name, self.wide)

    def _body(self, entries: list[Entry], columns: list[object], labels: int) -> list[str]:
        lines: dict[tuple[tuple[object, ...], str], dict[object, Entry]] = {}
        for entry in entries:
            lines.setdefault((entry.row, entry.metric), {})[entry.column] = entry
        body: list[str] = []
        above: list[str] = []
        most = max((entry.trials for entry in entries), default=0)
        for (row, metric), found in lines.items():
            texts = [markup.escape(self.shown(value)) for value in row]
            texts += [markup.escape(self.quantity(metric).title)] if self.names_metric else []
            if above and texts[0] != above[0]:
                body.append(r"\addlinespace")
            same = markup.same(texts, above)
            cells = [self._measured(found.get(column), most) for column in columns]
            body.append(markup.line([*([""] * same), *texts[same:], *cells]))
            if any(not math.isnan(entry.published) for entry in found.values()):
                names = ", ".join(dict.fromkeys(entry.published_as for entry in found.values() if entry.published_as))
                text = markup.escape(f"published ({names})" if names else "published")
                side = [""] * (labels - 1) + [markup.small_grey(text)]
                body.append(markup.line([*side, *(self._printed(found.get(column)) for column in columns)]))
            above = texts
        return body

    def _measured(self, entry: Entry | None, most: int) -> str:
        if entry is None or not entry.trials:
            return "--"
        shape = self.quantity(entry.metric)
        text = shape.text(entry.value)
        if self.bold(entry.metric, entry.value):
            text = rf"\textbf{{{text}}}"
        text += divergence.DAGGER * bool(entry.diverged)
        if self.show_std and not math.isnan(entry.std):
            text += rf"\,{{\scriptsize$\pm${shape.text(entry.std).removeprefix('0')}}}"
        if entry.trials < most:
            text += rf"\,{{\scriptsize({entry.trials})}}"
        return text

    def _printed(self, entry: Entry | None) -> str:
        if entry is None or math.isnan(entry.published):
            return ""
        return markup.small_grey(self.quantity(entry.metric).text(entry.published))

    def _caption(self, title: str, study: str, entries: list[Entry]) -> str:
        counts = sorted({entry.trials for entry in entries if entry.trials})
        names = ", ".join(self.quantity(value).title for value in self.values)
        if counts == [1]:
            sentences = [f"{names}; one trial per entry."]
        else:
            trials = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            spread = " $\\pm$ standard deviation" if self.show_std else ""
            sentences = [f"{names}: mean{spread} over {trials} trials per entry."]
            sentences += [markup.FEWER] * (len(counts) > 1)
        for bound, word in ((self.bold_above, "above"), (self.bold_below, "below")):
            if bound is not None:
                shape = self.quantity(self.bold_value or self.values[0])
                sentences.append(f"Bold: {shape.name} {word} {bound:g}.")
        sentences.append(divergence.explained(divergence.DAGGER, (entry.diverged for entry in entries), counts[-1]))
        grey = any(not math.isnan(entry.published) for entry in entries)
        who = source_of(self.published).name if self.published else ""
        but = f", except those in small grey type, which {who} published" if grey else ""
        return markup.caption_latex(title, sentences, study, but)


def _shared(apart: Mapping[tuple[object, ...], dict[str, object]], row: tuple[object, ...]) -> dict[str, object]:
    """What the entries of one row agree on: holds for an entry of that row without cells, too."""
    of_row = [own for entry, own in apart.items() if entry[:-1] == row]
    return {key: value for key, value in of_row[0].items() if all(own[key] == value for own in of_row)}
