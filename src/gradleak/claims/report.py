"""Verdicts as text: CSV, LaTeX, Markdown, and a table for the terminal."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from gradleak.analysis.statistics import LEAST
from gradleak.analysis.text import csv_text, fixed, interval, minus
from gradleak.claims.base import ClaimData
from gradleak.claims.published import published_lines
from gradleak.claims.published_report import published_csv, published_md, published_tex
from gradleak.claims.verdict import Verdict, counts
from gradleak.files import write_text
from gradleak.presentations import markup

COLOURS = {"supported": "green", "not supported": "red", "undecided": "yellow", "not tested": "dim"}


def claims_csv(verdicts: list[Verdict], data: ClaimData) -> str:
    """One line per claim with everything that is known of it."""
    head = ["id", "claim", "where", "statistic", "reads", "effect_is", "claimed", "margin", "effect", "low", "high"]
    rows: list[list[object]] = [[*head, "n", "unit", "share", "verdict", "reason", "scale", "study", "title"]]
    for verdict in verdicts:
        claim = verdict.claim
        numbers = [fixed(value) for value in (verdict.effect, verdict.low, verdict.high)]
        rows.append(
            [
                *(claim.id, claim.text, claim.where, claim.kind, claim.statistic.reads, claim.statistic.effect),
                *(claim.claimed, f"{claim.margin:g}", *numbers, verdict.units, claim.statistic.unit),
                *(fixed(verdict.share), verdict.word, verdict.reason, verdict.scale, data.study, data.title),
            ]
        )
    return csv_text(rows)


def claims_md(verdicts: list[Verdict], data: ClaimData) -> str:
    """A heading that says what the verdicts hold for, a count, and one line per claim."""
    rows = [
        [
            f"`{verdict.claim.id}`",
            verdict.claim.text,
            verdict.claim.where,
            f"{verdict.claim.statistic.effect.replace('$', '')}: {verdict.claim.rule}",
            _effect(verdict),
            _interval(verdict),
            str(verdict.units) if verdict.units else "",
            f"**{verdict.word}**",
            "; ".join(part for part in (verdict.reason, verdict.scale) if part),
        ]
        for verdict in verdicts
    ]
    heading = ["claim", "in our words", "in the paper", "statistic: claimed", "effect", "95 % interval", "n", "verdict"]
    table = markup.markdown_table([*heading, "why; at which scale"], rows, ["effect", "n"])
    return f"# Claims of the paper, tested by study `{data.study}`\n\n{_honest(data)} {summary(verdicts)}\n\n{table}"


def claims_tex(verdicts: list[Verdict], data: ClaimData) -> str:
    """A table over several pages: claim, place, statistic, effect, interval, n, verdict."""
    body = []
    for verdict in verdicts:
        texts = [verdict.claim.text, verdict.claim.where, f"{verdict.claim.statistic.effect}: {verdict.claim.rule}"]
        numbers = [minus(text, "$-$") or "--" for text in (_effect(verdict), _interval(verdict))]
        last = [str(verdict.units or "--"), verdict.word]
        body.append(markup.line([*map(markup.escape, texts), *numbers, *last]))
    heading = ["Claim", "In the paper", "Statistic: claimed", "Effect", r"95\,\% interval", "$n$", "Verdict"]
    caption = markup.escape(
        f"Claims of the paper. {_honest(data)} {summary(verdicts)} A claim is undecided where the interval holds the"
        f" margin, or where there are fewer than {LEAST} trials."
    )
    columns = "p{5.0cm}p{2.4cm}p{3.6cm}rcrl"
    return markup.long_frame(body, [markup.line(heading)], columns, caption, f"{data.study}-claims")


def terminal(verdicts: list[Verdict], data: ClaimData) -> RichTable:
    """One line per claim, in colour."""
    title = escape(_honest(data))
    found = RichTable(title=title, box=None, title_justify="left", title_style="", caption=summary(verdicts))
    found.caption_justify = "left"
    for column in ("claim", "effect", "95 % interval", "claimed", "n", "verdict", "why"):
        found.add_column(column, justify="right" if column in ("effect", "n") else "left", no_wrap=column == "claim")
    for verdict in verdicts:
        found.add_row(
            *(verdict.claim.id, _effect(verdict), _interval(verdict), verdict.claim.rule),
            *(str(verdict.units or ""), f"[{COLOURS[verdict.word]}]{verdict.word}[/]", escape(verdict.reason)),
        )
    return found


def summary(verdicts: list[Verdict]) -> str:
    """How many claims have which verdict, as a sentence."""
    found = counts([verdict.word for verdict in verdicts])
    return f"Of {len(verdicts)} claims: " + ", ".join(f"{count} {word}" for word, count in found.items()) + "."


def _honest(data: ClaimData) -> str:
    return (
        f"All numbers are those of study {data.named}: verdicts hold for its data, models and iterations, which need"
        " not be the paper's."
    )


def _effect(verdict: Verdict) -> str:
    return fixed(verdict.effect, 3)


def _interval(verdict: Verdict) -> str:
    return interval(verdict.low, verdict.high, 3)


FILES = tuple(f"{name}.{ending}" for name in ("claims", "published") for ending in ("csv", "tex", "md"))


def write_claims(verdicts: list[Verdict], data: ClaimData, out: Path) -> list[Path]:
    """Write all `FILES` into a folder, or nothing if one cannot be computed. Returns the paths."""
    lines = published_lines(data)
    texts = {
        "claims.csv": claims_csv(verdicts, data),
        "claims.tex": claims_tex(verdicts, data),
        "claims.md": claims_md(verdicts, data),
        "published.csv": published_csv(lines, data),
        "published.tex": published_tex(lines, data),
        "published.md": published_md(lines, data),
    }
    for name in FILES:
        write_text(out / name, texts[name])
    return [out / name for name in FILES]
