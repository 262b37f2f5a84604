"""Verdicts of `claims.csv` for the page: counts, one row per claim, and the interval as a small drawing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from gradleak.analysis.text import fixed, minus
from gradleak.claims.report import STRONGEST
from gradleak.claims.verdict import VERDICTS, Twice
from gradleak.errors import UserError
from gradleak.report.read import is_number, number_of, read_csv
from gradleak.report.tables import NOTHING, html

MADE_BY = "gradleak claims"
_COLUMNS = (
    *("id", "claim", "where", "reads", "effect_is", "claimed", "margin", "effect", "low", "high"),
    *("n", "verdict", "reason", "scale", *STRONGEST),
)
_WIDTH, _HEIGHT, _EDGE = 120, 18, 6


@dataclass(frozen=True)
class ClaimRow:
    """A claim as the page shows it.

    rank: of its verdict, to sort by. link: id in the page of what it reads, or nothing. effect, interval: text, empty
    where there is none. drawing: the interval against the margin.
    """

    id: str
    text: Markup
    where: str
    verdict: str
    rank: int
    effect: str
    effect_value: str
    interval: str
    drawing: Markup
    n: str
    reads: str
    link: str
    rule: Markup
    reason: Markup
    scale: str
    strongest: "StrongestRow | None"

    @property
    def style(self) -> str:
        """Class of the verdict in the page."""
        return _style(self.verdict)


@dataclass(frozen=True)
class StrongestRow:
    """The second verdict on a claim of protection, against the study's strongest attacks.

    rank: to sort by. numbers: effect and interval as text. attacks: which the strongest are.
    """

    verdict: str
    rank: int
    numbers: str
    rule: Markup
    reason: Markup
    attacks: str

    @property
    def style(self) -> str:
        """Class of the verdict in the page."""
        return _style(self.verdict)


def claim_rows(path: Path, links: Mapping[str, str]) -> list[ClaimRow]:
    """All claims of a file; links: ids in the page by what a claim reads. Raises UserError for a bad file."""
    return [_row(line, path, links) for line in read_csv(path, MADE_BY, _COLUMNS)]


def twice(rows: list[ClaimRow]) -> Twice:
    """How the claims of protection fare against the strongest attacks."""
    return Twice.of((row.id, row.verdict, row.strongest.verdict if row.strongest else "") for row in rows)


def _row(line: dict[str, str], path: Path, links: Mapping[str, str]) -> ClaimRow:
    for name in ("verdict", "strongest_verdict"):
        if line[name] not in VERDICTS and (line[name] or name == "verdict"):
            raise UserError(f"{path}: claim '{line['id']}': {name} '{line[name]}' is none of {', '.join(VERDICTS)}")
    for name in ("margin", *(f"{part}{name}" for part in ("", "strongest_") for name in ("effect", "low", "high"))):
        if line[name] and not is_number(line[name]):
            raise UserError(f"{path}: claim '{line['id']}': {name} '{line[name]}' is not a number")
    has_interval = bool(line["low"] and line["high"])
    return ClaimRow(
        id=line["id"],
        text=html(line["claim"]),
        where=line["where"],
        verdict=line["verdict"],
        rank=VERDICTS.index(line["verdict"]),
        effect=_shown(line["effect"]),
        effect_value=line["effect"],
        interval=f"{_shown(line['low'])} to {_shown(line['high'])}" if has_interval else "",
        drawing=_drawing(line) if has_interval and line["effect"] else NOTHING,
        n="" if line["n"] == "0" else line["n"],
        reads=line["reads"],
        link=links.get(line["reads"], ""),
        rule=html(f"{line['effect_is']}: claimed {line['claimed']} {line['margin']}"),
        reason=html(line["reason"]),
        scale=line["scale"],
        strongest=_strongest(line) if line["strongest_verdict"] else None,
    )


def _strongest(line: Mapping[str, str]) -> StrongestRow:
    effect, low, high = (_shown(line[f"strongest_{name}"]) for name in ("effect", "low", "high"))
    return StrongestRow(
        verdict=line["strongest_verdict"],
        rank=VERDICTS.index(line["strongest_verdict"]),
        numbers=effect + (f" ({low} to {high})" if low and high else ""),
        rule=html(f"{line['strongest_effect_is']}: claimed {line['claimed']} {line['margin']}"),
        reason=html(line["strongest_reason"]),
        attacks=line["strongest_attacks"],
    )


def _style(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _shown(text: str) -> str:
    return minus(fixed(number_of(text), 3))


def _drawing(line: Mapping[str, str]) -> Markup:
    """The margin as a line, the claimed side shaded, the interval as a bar and the effect as a point on it."""
    low, high, effect, margin = (float(line[name]) for name in ("low", "high", "effect", "margin"))
    least, most = min(low, margin), max(high, margin)
    room = 0.15 * (most - least) or 1.0
    least, most = least - room, most + room

    def place(value: float) -> float:
        return round(_EDGE + (_WIDTH - 2 * _EDGE) * (value - least) / (most - least), 1)

    at = place(margin)
    x, width = (at, _WIDTH - at) if line["claimed"] == "above" else (0, at)
    middle = _HEIGHT / 2
    return Markup(
        '<svg class="interval" viewBox="0 0 {w} {h}" width="{w}" height="{h}" aria-hidden="true">'
        '<rect class="side" x="{x}" y="0" width="{width}" height="{h}"/>'
        '<line class="margin" x1="{at}" x2="{at}" y1="0" y2="{h}"/>'
        '<line class="bar" x1="{low}" x2="{high}" y1="{mid}" y2="{mid}"/>'
        '<circle class="point" cx="{effect}" cy="{mid}" r="3"/></svg>'
    ).format(
        w=_WIDTH, h=_HEIGHT, x=x, width=round(width, 1), at=at, mid=middle,
        low=place(low), high=place(high), effect=place(effect),
    )  # fmt: skip
