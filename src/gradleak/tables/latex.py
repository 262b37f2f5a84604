"""LaTeX: escaping of text, and the frame of a booktabs table."""

import re

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: "\\" + character for character in "#$%&_"},
}
_MATH = re.compile(r"(\$[^$\s&%#](?:[^$&%#]*[^$\s&%#])?\$)")


def escape(text: str) -> str:
    """Text for LaTeX: `$math$` with balanced braces stays, every other special character is escaped."""
    parts = _MATH.split(text)
    return "".join(
        part if i % 2 and _balanced(part) else "".join(_ESCAPES.get(character, character) for character in part)
        for i, part in enumerate(parts)
    )


def small_grey(text: str) -> str:
    """LaTeX text set small and grey."""
    return rf"{{\scriptsize\color{{gray}}{text}}}"


def line(cells: list[str]) -> str:
    """One line of a tabular."""
    return " & ".join(cells) + r" \\"


def frame(body: list[str], heading: list[str], labels: int, columns: int, caption: str, name: str, wide: bool) -> str:
    """A complete table environment around the lines of a body.

    heading: lines above the first rule of the body; labels, columns: number of label and value columns;
    name: what `\\ref{tab:<name>}` finds; wide: over both columns of a two-column page.
    """
    environment = "table*" if wide else "table"
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{xcolor}",
        rf"\begin{{{environment}}}[t]",
        r"  \centering",
        r"  \setlength{\belowcaptionskip}{4pt}",
        rf"  \caption{{{caption}}}",
        rf"  \label{{tab:{name}}}",
        r"  \small" if columns <= 5 else r"  \footnotesize",
        r"  \setlength{\tabcolsep}{4pt}" if columns <= 5 else r"  \setlength{\tabcolsep}{3pt}",
        rf"  \begin{{tabular}}{{@{{}}{'l' * labels}{'c' * columns}@{{}}}}",
        *(f"    {text}" for text in [r"\toprule", *heading, r"\midrule", *body, r"\bottomrule"]),
        r"  \end{tabular}",
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _balanced(text: str) -> bool:
    depth = 0
    for character in text.replace(r"\{", "").replace(r"\}", ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0
