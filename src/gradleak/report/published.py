"""Published numbers beside ours, from `published.csv`: agreement per table, and all numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from gradleak.analysis.published import Source
from gradleak.analysis.text import fixed, interval, minus, p_value
from gradleak.claims.published import Agreement, Line, agreements
from gradleak.claims.published_report import by_source, caption
from gradleak.presentations.base import in_words
from gradleak.report.claims import MADE_BY
from gradleak.report.entries import Item, figure_item
from gradleak.report.read import number_of, read_csv
from gradleak.report.tables import NOTHING, Column, Field, HtmlTable, html

_TEXTS = ("table", "labels", "column", "metric", "experiment", "setting")
_NUMBERS = ("published", "ours", "std", "trials")


def read_lines(path: Path) -> list[Line]:
    """The lines of `published.csv`. Raises UserError for a bad file."""
    rows = read_csv(path, MADE_BY, [*_TEXTS, "paper_says", "we_say"], numbers=_NUMBERS)
    return [
        Line(
            table=row["table"],
            labels=row["labels"],
            column=row["column"],
            metric=row["metric"],
            published=number_of(row["published"]),
            experiment=row["experiment"],
            setting=row["setting"],
            value=number_of(row["ours"]),
            std=number_of(row["std"]),
            trials=int(float(row["trials"] or 0)),
            paper_verdict=row["paper_says"],
            our_verdict=row["we_say"],
        )
        for row in rows
    ]


@dataclass(frozen=True)
class OfSource:
    """What the page shows of one source. agreed: see the function of that name."""

    source: Source
    caption: str
    agreement: HtmlTable
    numbers: HtmlTable
    agreed: tuple[int, int]

    @property
    def anchor(self) -> str:
        """Id of the table of all numbers."""
        return f"published-{self.source.prefix.strip('_')}"


def rates_item(folder: Path) -> Item:
    """The figure of agreement by the client's rate. Raises UserError for a missing file."""
    stem = "published_rates"
    files = tuple(f"{stem}{ending}" for ending in (".pdf", ".png", ".csv", ".txt"))
    return figure_item(stem, folder, "Agreement with Tables 1 and 2 by the client's rate", MADE_BY, "plot", files)


def of_sources(lines: list[Line], study: str, links: Mapping[str, str]) -> list[OfSource]:
    """The numbers of each source, the paper's first. study: its name. links: ids in the page by experiment."""
    return [
        OfSource(source, caption(source, study), agreement_table(own), all_numbers(own, links), agreed(own))
        for source, own in by_source(lines)
    ]


def agreement_table(lines: list[Line]) -> HtmlTable:
    """One line per table and metric."""
    titles = ("Table", "Metric", "Published", "Of these here", "Verdicts", "Agree", "Rank correlation", "Interval", "p")
    columns = tuple(Column(html(title), numeric=i in (2, 3, 4, 5, 6, 8)) for i, title in enumerate(titles))
    return HtmlTable(columns, tuple(_agreement(found) for found in agreements(lines)))


def all_numbers(lines: Sequence[Line], links: Mapping[str, str]) -> HtmlTable:
    """One line per published number; `links`: ids in the page by experiment."""
    titles = ("Table", "Row", "Column", "Metric", "Paper", "Ours", "Difference", "n", "Paper says", "We say", "Setting")
    columns = tuple(Column(html(title), numeric=title in ("Paper", "Ours", "Difference", "n")) for title in titles)
    return HtmlTable(columns, tuple(_line(line, links) for line in lines))


def agreed(lines: Sequence[Line]) -> tuple[int, int]:
    """The number of verdicts that agree, and the number that both the source and the study give."""
    both = [line.agrees for line in lines if line.agrees is not None]
    return sum(both), len(both)


def _agreement(found: Agreement) -> tuple[Field, ...]:
    ranks = found.ranks
    rate = "" if math.isnan(found.rate) else f"{found.agreed} ({100 * found.rate:.0f} %)"
    return (
        *(Field(html(_table(found.table))), Field(html(in_words(found.metric)))),
        *(_count(number) for number in (found.printed, found.found, found.judged)),
        Field(html(rate), fixed(found.rate, 4), "number"),
        Field(html(minus(fixed(ranks.rho, 2))), fixed(ranks.rho), "number"),
        Field(html(minus(interval(ranks.low, ranks.high, 2)))),
        Field(html(p_value(ranks.p)), fixed(ranks.p), "number"),
    )


def _line(line: Line, links: Mapping[str, str]) -> tuple[Field, ...]:
    name = html(_table(line.table))
    if line.experiment in links:
        name = Markup('<a href="#{}">{}</a>').format(links[line.experiment], name)
    marks = {"": "", "agrees": "✓", "differs": "✗"}
    agrees = "" if line.agrees is None else "agrees" if line.agrees else "differs"
    return (
        Field(name, line.table),
        *(Field(html(text)) for text in (line.labels, line.column, in_words(line.metric))),
        *(_value(number) for number in (line.published, line.value, line.difference)),
        _count(line.trials) if line.trials else Field(NOTHING, style="number"),
        Field(html(line.paper_verdict)),
        Field(html(f"{marks[agrees]} {line.our_verdict}".strip()), style=agrees),
        Field(html(line.setting)),
    )


def _table(name: str) -> str:
    return name.replace("table", "Table\N{NO-BREAK SPACE}")


def _count(number: int) -> Field:
    return Field(html(str(number)), str(number), "number")


def _value(number: float) -> Field:
    return Field(html(minus(fixed(number, 4))), fixed(number), "number")
