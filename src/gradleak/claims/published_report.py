"""Published numbers beside ours as text: CSV, LaTeX and Markdown."""

import math

from gradleak.analysis.published import SOURCES, Source
from gradleak.analysis.text import csv_text, fixed, interval, minus, p_value
from gradleak.claims.base import ClaimData
from gradleak.claims.published import Agreement, Line, agreements
from gradleak.metrics.rates import TAU_LPIPS
from gradleak.presentations import markup

_HEAD = ["table", "labels", "column", "metric", "published", "ours", "difference"]


def published_csv(lines: list[Line], data: ClaimData) -> str:
    """One line per published number and entry of the study."""
    rows: list[list[object]] = [
        [*_HEAD, "std", "trials", "paper_says", "we_say", "agrees", "experiment", "setting", "study", "source"]
    ]
    for line in lines:
        numbers = [fixed(value) for value in (line.published, line.value, line.difference, line.std)]
        agrees = "" if line.agrees is None else "yes" if line.agrees else "no"
        rows.append(
            [
                *(line.table, line.labels, line.column, line.metric, *numbers, line.trials),
                *(
                    line.paper_verdict,
                    line.our_verdict,
                    agrees,
                    line.experiment,
                    line.setting,
                    data.study,
                    line.source.name,
                ),
            ]
        )
    return csv_text(rows)


def published_md(lines: list[Line], data: ClaimData, rates: str = "") -> str:
    """For each source agreement per table, then all numbers of each. rates: a section between them."""
    titles = ["table", "metric", "published", "of these here", "verdicts", "agree", "rank correlation", "interval", "p"]
    all_heading = [*_HEAD, "trials", "paper says", "we say", "setting"]
    parts = [f"# Published numbers beside those of study `{data.study}`\n"]
    for source, own in by_source(lines):
        rows = [_agreement(found) for found in agreements(own)]
        parts += [f"## {_capital(source.name)}\n", f"{caption(source, data.named)}\n"]
        parts.append(markup.markdown_table(titles, rows, titles[2:]))
    parts += [rates] if rates else []
    for source, own in by_source(lines):
        entries = [[*_entry(line), line.setting.replace("$", "")] for line in own]
        parts.append(f"## All numbers of {source.name}\n")
        parts.append(markup.markdown_table(all_heading, entries, ["published", "ours", "difference", "trials"]))
    return "\n".join(parts)


def published_tex(lines: list[Line], data: ClaimData) -> str:
    """Two tables of each source: agreement, and all numbers over several pages."""
    return "\n".join(text for source, own in by_source(lines) for text in _tables_tex(source, own, data))


def _tables_tex(source: Source, lines: list[Line], data: ClaimData) -> tuple[str, str]:
    name = f"{data.study}-{'' if source.is_paper else source.prefix.replace('_', '-')}"
    rows = [markup.line([_tex(text) for text in _agreement(found)]) for found in agreements(lines)]
    titles = ["Table", "Metric", "Published", "Here", "Verdicts", "Agree", r"$\rho$", r"95\,\% interval", "$p$"]
    first = markup.escape(caption(source, data.named))
    second = markup.escape(f"The numbers of {source.name} and those of study {data.study}.")
    body = [markup.line([_tex(text) for text in _entry(line)]) for line in lines]
    heading = ["Table", "Row", "Column", "Metric", "Paper", "Ours", "Difference", "$n$", "Paper says", "We say"]
    return (
        markup.frame(rows, [markup.line(titles)], 2, 7, first, f"{name}agreement", wide=True),
        markup.long_frame(body, [markup.line(heading)], "lp{3.2cm}llrrrrll", second, f"{name}published"),
    )


def by_source(lines: list[Line]) -> list[tuple[Source, list[Line]]]:
    """The lines of each source, the paper's first."""
    return [(source, [line for line in lines if line.source == source]) for source in SOURCES]


def caption(source: Source, study: str) -> str:
    """Whose numbers they are, and what verdicts and rank correlation are, for the name of a study."""
    better = ", in Table 4 better or worse than without a modification" if source.is_paper else ""
    return (
        f"Published numbers of {source.name} ({source.tables}) beside those of study {study}, which need not have"
        f" their data, models and iterations. The verdict on an LPIPS is above or below {TAU_LPIPS:g}{better}; it is"
        " that on the mean, not a test. Rank correlation: Spearman's, of the published numbers with ours."
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _agreement(found: Agreement) -> list[str]:
    ranks = found.ranks
    return [
        found.table,
        found.metric,
        str(found.printed),
        str(found.found),
        str(found.judged),
        "" if math.isnan(found.rate) else f"{found.agreed} ({100 * found.rate:.0f} %)",
        "" if math.isnan(ranks.rho) else f"{ranks.rho:.2f} (n = {ranks.n})",
        interval(ranks.low, ranks.high, 2),
        p_value(ranks.p),
    ]


def _entry(line: Line) -> list[str]:
    numbers = [fixed(value, 4) for value in (line.published, line.value, line.difference)]
    trials = str(line.trials) if line.trials else ""
    verdicts = [line.paper_verdict, line.our_verdict]
    return [line.table, line.labels, line.column, line.metric, *numbers, trials, *verdicts]


def _tex(text: str) -> str:
    number = text.replace("-", "", 1).replace(".", "", 1).isdigit()
    return minus(text, "$-$") if number else markup.escape(text)
