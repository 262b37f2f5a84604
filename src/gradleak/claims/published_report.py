"""Published numbers beside ours as text: CSV, LaTeX and Markdown."""

import math

from gradleak.analysis.text import csv_text, fixed, interval, minus, p_value
from gradleak.claims.base import ClaimData
from gradleak.claims.published import Agreement, Line, agreements
from gradleak.metrics.rates import TAU_LPIPS
from gradleak.presentations import markup

_HEAD = ["table", "labels", "column", "metric", "published", "ours", "difference"]


def published_csv(lines: list[Line], data: ClaimData) -> str:
    """One line per published number and entry of the study."""
    rows: list[list[object]] = [
        [*_HEAD, "std", "trials", "paper_says", "we_say", "agrees", "experiment", "setting", "study"]
    ]
    for line in lines:
        numbers = [fixed(value) for value in (line.published, line.value, line.difference, line.std)]
        agrees = "" if line.agrees is None else "yes" if line.agrees else "no"
        rows.append(
            [
                *(line.table, line.labels, line.column, line.metric, *numbers, line.trials),
                *(line.paper_verdict, line.our_verdict, agrees, line.experiment, line.setting, data.study),
            ]
        )
    return csv_text(rows)


def published_md(lines: list[Line], data: ClaimData) -> str:
    """Agreement per table, then all numbers."""
    titles = ["table", "metric", "published", "of these here", "verdicts", "agree", "rank correlation", "interval", "p"]
    rows = [_agreement(found) for found in agreements(lines)]
    entries = [[*_entry(line), line.setting.replace("$", "")] for line in lines]
    all_heading = [*_HEAD, "trials", "paper says", "we say", "setting"]
    return (
        f"# The paper's numbers beside those of study `{data.study}`\n\n{_caption(data)}\n\n"
        + markup.markdown_table(titles, rows, titles[2:])
        + "\n## All published numbers\n\n"
        + markup.markdown_table(all_heading, entries, ["published", "ours", "difference", "trials"])
    )


def published_tex(lines: list[Line], data: ClaimData) -> str:
    """Two tables: agreement, and all numbers over several pages."""
    rows = [markup.line([_tex(text) for text in _agreement(found)]) for found in agreements(lines)]
    titles = ["Table", "Metric", "Published", "Here", "Verdicts", "Agree", r"$\rho$", r"95\,\% interval", "$p$"]
    first = markup.frame(
        rows, [markup.line(titles)], 2, 7, markup.escape(_caption(data)), f"{data.study}-agreement", wide=True
    )
    body = [markup.line([_tex(text) for text in _entry(line)]) for line in lines]
    heading = ["Table", "Row", "Column", "Metric", "Paper", "Ours", "Difference", "$n$", "Paper says", "We say"]
    caption = markup.escape(f"The paper's numbers and those of study {data.study}.")
    return (
        first
        + "\n"
        + markup.long_frame(body, [markup.line(heading)], "lp{3.2cm}llrrrrll", caption, f"{data.study}-published")
    )


def _caption(data: ClaimData) -> str:
    return (
        f"Published numbers (Tables 1 to 6) beside those of study {data.named}, which need not have the paper's data,"
        f" models and iterations. The verdict on an LPIPS is above or below {TAU_LPIPS:g}, in Table 4 better or worse"
        " than without a modification; it is that on the mean, not a test. Rank correlation: Spearman's, of the"
        " paper's numbers with ours."
    )


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
