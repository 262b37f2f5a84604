"""Tables and text of the page: CSV files line by line, labels with formulas as HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from gradleak.analysis.text import minus
from gradleak.presentations.base import QUANTITIES, Wording
from gradleak.report.read import is_number

NOTHING = Markup("")
_MATH = re.compile(r"\$([^$\s](?:[^$]*[^$\s])?)\$")
_CODE = re.compile(r"``([^`]+)``")
_SCRIPT = re.compile(r"([_^])(?:\{([^{}]*)\}|([^\s{}]))")

_SYMBOLS = {
    "uparrow": "↑", "downarrow": "↓", "leftarrow": "←", "rightarrow": "→", "pm": "±", "times": "×", "cdot": "·",
    "infty": "∞", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "lambda": "λ",
    "mu": "μ", "nabla": "∇", "rho": "ρ", "sigma": "σ", "tau": "τ", "theta": "θ", "le": "≤", "ge": "≥", "ell": "ℓ",
    "dagger": "†",
}  # fmt: skip

_COMMAND = re.compile(r"\\([a-zA-Z]+)(?:\{\})?")


def html(text: str) -> Markup:
    """A label or sentence: everything is escaped but what this module itself marks up."""
    parts = _MATH.split(text)
    found = [_formula(part) if i % 2 else _words(part) for i, part in enumerate(parts)]
    return Markup("").join(found)


def plain(text: str) -> str:
    """The same without mark-up, for alternative texts and sorting."""
    return " ".join(html(text).striptags().split())


def _words(text: str) -> Markup:
    parts = _CODE.split(text)
    marked = [Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(marked)


def _formula(text: str) -> Markup:
    # Escaping changes none of the characters that the patterns look for.
    found = str(escape(_COMMAND.sub(lambda match: _SYMBOLS.get(match[1], match[1]), text)))
    tags = {"_": "sub", "^": "sup"}
    found = _SCRIPT.sub(lambda match: f"<{tags[match[1]]}>{match[2] or match[3] or ''}</{tags[match[1]]}>", found)
    return Markup('<span class="math">{}</span>').format(Markup(minus(found)))  # noqa: S704  # escaped above


_WORDS = {
    "n_baseline": "n baseline",
    "n_against": "n against",
    "p": "p",
    "rho": "ρ",
    "n": "n",
    "x": "x",
    "y": "y",
    "U": "U",
    "mu": "μ",
    "rms": "RMS",
}

_QUANTITY_COLUMNS = ("metric", "baseline", "against", "x", "y")


@dataclass(frozen=True)
class Field:
    """One field of a table. value: what it sorts by, where that is not its text. style: classes of the page."""

    text: Markup
    value: str = ""
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading, and whether it holds numbers."""

    title: Markup
    numeric: bool = False


@dataclass(frozen=True)
class HtmlTable:
    """A table of the page. over: heading above all columns but the first `labels` ones, or nothing."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Field, ...], ...]
    over: Markup = NOTHING
    labels: int = 0


def line_by_line(rows: Sequence[dict[str, str]], wording: Wording | None = None, only: Sequence[str] = ()) -> HtmlTable:
    """A table with a line for every line of a CSV file. wording: of columns and values. only: the columns to show."""
    wording = wording or Wording()
    names = list(only) or list(rows[0] if rows else ())
    numeric = {name: all(is_number(row[name]) or not row[name] for row in rows) for name in names}
    return HtmlTable(
        tuple(Column(html(_WORDS.get(name) or wording.heading(name)), numeric[name]) for name in names),
        tuple(tuple(_field(name, row[name], wording, numeric[name]) for name in names) for row in rows),
    )


def short(text: str) -> str:
    """A number of a CSV file with four significant digits; whole numbers, and what is no number, as they are."""
    if not is_number(text) or text.lstrip("-").isdigit():
        return text
    return minus(f"{float(text):.4g}")


def _field(name: str, text: str, wording: Wording, numeric: bool) -> Field:
    if numeric:
        return Field(html(short(text)), text, "number")
    if name == "over":
        return Field(html(wording.heading(text)))
    if name in _QUANTITY_COLUMNS and (text in QUANTITIES or text in wording.quantities):
        return Field(html(wording.quantity(text).name))
    return Field(html(wording.shown(text)))
