"""Text for HTML: escaped, `$math$` of labels as letters with sub- and superscripts, `code` between double backticks."""

import re

from markupsafe import Markup, escape

NOTHING = Markup("")

_MATH = re.compile(r"\$([^$\s](?:[^$]*[^$\s])?)\$")
_CODE = re.compile(r"``([^`]+)``")
_SCRIPT = re.compile(r"([_^])(?:\{([^{}]*)\}|([^\s{}]))")
_SYMBOLS = {
    "uparrow": "↑", "downarrow": "↓", "leftarrow": "←", "rightarrow": "→", "pm": "±", "times": "×", "cdot": "·",
    "infty": "∞", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "lambda": "λ",
    "mu": "μ", "nabla": "∇", "rho": "ρ", "sigma": "σ", "tau": "τ", "theta": "θ", "le": "≤", "ge": "≥", "ell": "ℓ",
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
    return Markup('<span class="math">{}</span>').format(Markup(found.replace("-", "−")))
