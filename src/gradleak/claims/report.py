"""Verdicts as text: CSV, LaTeX, Markdown, and a table for the terminal."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from gradleak.analysis.statistics import LEAST
from gradleak.analysis.text import csv_text, fixed, interval, minus
from gradleak.claims.base import ClaimData
from gradleak.claims.published import published_lines
from gradleak.claims.published_rates import rate_agreements
from gradleak.claims.published_rates_report import rates_caption, rates_csv, rates_figure, rates_md
from gradleak.claims.published_report import published_csv, published_md, published_tex
from gradleak.claims.verdict import Twice, Verdict, counts
from gradleak.files import write_files
from gradleak.presentations import markup

STRONGEST = tuple(
    f"strongest_{name}" for name in ("verdict", "effect_is", "effect", "low", "high", "n", "reason", "attacks")
)
"""Columns of `claims.csv` on the second judgement, against the study's strongest attacks."""

COLOURS = {"supported": "green", "not supported": "red", "undecided": "yellow", "not tested": "dim"}


def claims_csv(verdicts: list[Verdict], data: ClaimData) -> str:
    """One line per claim with everything that is known of it."""
    head = ["id", "claim", "where", "statistic", "reads", "effect_is", "claimed", "margin", "effect", "low", "high"]
    last = ["n", "unit", "share", "verdict", "reason", "scale", "study", "title", *STRONGEST]
    rows: list[list[object]] = [[*head, *last]]
    for verdict in verdicts:
        claim = verdict.claim
        rows.append(
            [
                *(claim.id, claim.text, claim.where, claim.kind, claim.statistic.reads, claim.statistic.effect),
                *(claim.claimed, f"{claim.margin:g}", *_numbers(verdict), verdict.units, claim.statistic.unit),
                *(fixed(verdict.share), verdict.word, verdict.reason, verdict.scale, data.study, data.title),
                *_strongest(verdict),
            ]
        )
    return csv_text(rows)


def _strongest(verdict: Verdict) -> list[object]:
    """Columns `STRONGEST` of a verdict: empty for a claim that is not judged twice."""
    second = verdict.strongest
    if second is None or verdict.claim.strongest is None:
        return [""] * len(STRONGEST)
    effect_is = verdict.claim.strongest.effect
    return [second.word, effect_is, *_numbers(second), second.units, second.reason, second.attacks]


def _numbers(verdict: Verdict) -> list[str]:
    return [fixed(value) for value in (verdict.effect, verdict.low, verdict.high)]


def claims_md(verdicts: list[Verdict], data: ClaimData) -> str:
    """Which claims fall against the strongest attack, what the verdicts hold for, counts, and one line per claim."""
    rows = []
    for verdict in verdicts:
        second = verdict.strongest
        rows.append(
            [
                f"`{verdict.claim.id}`",
                verdict.claim.text,
                verdict.claim.where,
                f"{verdict.claim.statistic.effect.replace('$', '')}: {verdict.claim.rule}",
                *_cells(verdict),
                f"**{verdict.word}**",
                *(["", "", "", ""] if second is None else [*_cells(second), f"**{second.word}**"]),
                "; ".join(part for part in (*_why(verdict), _attacks(second), verdict.scale) if part),
            ]
        )
    second_heading = [f"strongest: {name}" for name in ("effect", "95 % interval", "n", "verdict")]
    heading = ["claim", "in our words", "in the paper", "statistic: claimed", "effect", "95 % interval", "n", "verdict"]
    right = ["effect", "n", "strongest: effect", "strongest: n"]
    table = markup.markdown_table([*heading, *second_heading, "why; at which scale"], rows, right)
    return (
        f"{_twice(verdicts).headline()}\n\n# Claims of the paper, tested by study `{data.study}`\n\n"
        f"{_honest(data)} {summary(verdicts)}\n\n{table}"
    )


def claims_tex(verdicts: list[Verdict], data: ClaimData) -> str:
    """A table over several pages: claim, place, statistic, effect, interval, n, and both verdicts."""
    body = []
    for verdict in verdicts:
        texts = [verdict.claim.text, verdict.claim.where, f"{verdict.claim.statistic.effect}: {verdict.claim.rule}"]
        numbers = [minus(text, "$-$") or "--" for text in _cells(verdict)]
        last = [*numbers, verdict.word, minus(_in_short(verdict.strongest), "$-$") or "--"]
        body.append(markup.line([*map(markup.escape, texts), *last]))
    heading = ["Claim", "In the paper", "Statistic: claimed", "Effect", r"95\,\% interval", "$n$", "Verdict"]
    caption = markup.escape(
        f"Claims of the paper. {_honest(data)} {summary(verdicts)} A claim is undecided where the interval holds the"
        f" margin, or where there are fewer than {LEAST} trials. {_twice(verdicts).headline()}"
    )
    columns = "p{4.0cm}p{2.1cm}p{3.0cm}rcrp{1.5cm}p{2.3cm}"
    return markup.long_frame(
        body, [markup.line([*heading, "Strongest attack"])], columns, caption, f"{data.study}-claims"
    )


def terminal(verdicts: list[Verdict], data: ClaimData) -> RichTable:
    """One line per claim, in colour."""
    title = escape(_honest(data))
    caption = f"{summary(verdicts)}\n{_twice(verdicts).headline()}"
    found = RichTable(title=title, box=None, title_justify="left", title_style="", caption=escape(caption))
    found.caption_justify = "left"
    for column in ("claim", "effect", "95 % interval", "claimed", "n", "verdict", "strongest attack", "why"):
        found.add_column(column, justify="right" if column in ("effect", "n") else "left", no_wrap=column == "claim")
    for verdict in verdicts:
        second = verdict.strongest
        found.add_row(
            *(verdict.claim.id, _effect(verdict), _interval(verdict), verdict.claim.rule),
            *(str(verdict.units or ""), f"[{COLOURS[verdict.word]}]{verdict.word}[/]"),
            "" if second is None else f"[{COLOURS[second.word]}]{_in_short(second)}[/]",
            escape("; ".join(_why(verdict))),
        )
    return found


def summary(verdicts: list[Verdict]) -> str:
    """How many claims have which verdict, against the paper's attacks and the strongest, as sentences."""
    found = counts([verdict.word for verdict in verdicts])
    first = f"Of {len(verdicts)} claims: " + ", ".join(f"{count} {word}" for word, count in found.items()) + "."
    return f"{first} {_twice(verdicts).summary()}".rstrip()


def _twice(verdicts: list[Verdict]) -> Twice:
    return Twice.of((one.claim.id, one.word, one.strongest.word if one.strongest else "") for one in verdicts)


def _cells(verdict: Verdict) -> list[str]:
    return [_effect(verdict), _interval(verdict), str(verdict.units) if verdict.units else ""]


def _in_short(verdict: Verdict | None) -> str:
    """`supported: 0.153 (0.141 to 0.165)`. Nothing where there is none."""
    if verdict is None:
        return ""
    effect, interval_ = _effect(verdict), _interval(verdict)
    return verdict.word + (f": {effect}" if effect else "") + (f" ({interval_})" if interval_ else "")


def _why(verdict: Verdict) -> list[str]:
    """Reasons of both verdicts, once where they are the same."""
    second = verdict.strongest.reason if verdict.strongest and verdict.strongest.reason != verdict.reason else ""
    return [reason for reason in (verdict.reason, second and f"strongest: {second}") if reason]


def _attacks(second: Verdict | None) -> str:
    return f"strongest attacks: {second.attacks}" if second is not None and second.attacks else ""


def _honest(data: ClaimData) -> str:
    return (
        f"All numbers are those of study {data.named}: verdicts hold for its data, models and iterations, which need"
        " not be the paper's."
    )


def _effect(verdict: Verdict) -> str:
    return fixed(verdict.effect, 3)


def _interval(verdict: Verdict) -> str:
    return interval(verdict.low, verdict.high, 3)


FILES = (
    *(f"{name}.{ending}" for name in ("claims", "published") for ending in ("csv", "tex", "md")),
    *(f"published_rates.{ending}" for ending in ("csv", "pdf", "png", "txt")),
)


def write_claims(verdicts: list[Verdict], data: ClaimData, out: Path) -> list[Path]:
    """Write all `FILES` into a folder, or nothing if one cannot be computed. Returns the paths."""
    lines = published_lines(data)
    rates = rate_agreements(data)
    texts = {
        "claims.csv": claims_csv(verdicts, data),
        "claims.tex": claims_tex(verdicts, data),
        "claims.md": claims_md(verdicts, data),
        "published.csv": published_csv(lines, data),
        "published.tex": published_tex(lines, data),
        "published.md": published_md(lines, data, rates_md(rates)),
        "published_rates.csv": rates_csv(rates, data),
        "published_rates.txt": rates_caption(rates, data),
    }
    drawn = {f"published_rates{ending}": content for ending, content in rates_figure(rates).items()}
    contents = {name: text.encode() for name, text in texts.items()} | drawn
    return write_files(out, {name: contents[name] for name in FILES})
