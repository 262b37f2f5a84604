"""Text of files: LaTeX tables with booktabs, Markdown tables, drawn numbers as CSV, and captions."""

import itertools
import re
from collections.abc import Iterable, Sequence

import pandas as pd

from gradleak.analysis.text import csv_text, fixed, p_value
from gradleak.errors import UserError
from gradleak.names import texts

#: A caption's sentence on entries that average fewer trials than others of their table.
FEWER = "In brackets: how many trials, where fewer than the most."

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

# What mathematics may hold beside signs, digits and letters. Text may be somebody else's: no command that reads, writes
# or defines is let through, nor a way to name one (`^^5c`).
_NAMES = """alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi varphi
chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega uparrow downarrow leftarrow rightarrow to pm mp times
cdot div leq geq le ge neq ne approx sim equiv propto infty ell nabla partial sum prod sqrt frac log ln exp min max
mathrm mathbf mathit mathcal mathbb hat bar tilde vec in notin subset cup cap forall exists ldots cdots circ prime star
dagger left right langle rangle Vert vert quad qquad"""
_COMMANDS = frozenset(_NAMES.split())

_MARKUP = re.compile(r"\\[a-zA-Z]+(?:\[[^]]*\]|\{gray\}|\{\})?|\\,|[{}$\\]")

# Type sizes of a document in 10pt, widths of a page and of one of its two columns, half the gap of columns; in points.
_SIZES = {"small": 9.0, "footnotesize": 8.0}

_PAGE, _COLUMN, _GAP = 500.0, 240.0, 3.0


def p_latex(p: float) -> str:
    """`0.012`, or `$<$0.001`, of a LaTeX table before `escape`; a dash for NaN."""
    return p_value(p).replace("<", "$<$") or "--"


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> str:
    """A table in Markdown; `right` names the headings of the columns that are set flush right."""
    rule = ["---:" if title in right else "---" for title in heading]
    return "".join(f"| {' | '.join(map(_markdown_cell, row))} |\n" for row in [heading, rule, *rows])


def points_csv(keys: Sequence[str], numbers: Sequence[str], points: pd.DataFrame) -> str:
    """The drawn numbers as CSV: keys, `metric`, the numbers, `trials`, and `diverged` where some are; points as from
    `analysis.summary.summarise`.
    """
    heading = [*keys, "metric", *numbers, "trials", *(["diverged"] if "diverged" in points else [])]
    rows = [[fixed(row[key]) if key in numbers else row[key] for key in heading] for row in points.to_dict("records")]
    return csv_text([heading, *rows])


def trials_text(points: pd.DataFrame) -> str:
    """How many trials a point has: `1 trial`, `4 trials`, `2 to 4 trials`."""
    least, most = int(points["trials"].min()), int(points["trials"].max())
    return f"{least if least == most else f'{least} to {most}'} trial{'' if most == 1 else 's'}"


def leak_text(metric: str, value: float | None) -> str:
    """What the dashed red line at a value of a metric says; empty for no line."""
    return "" if value is None else f"Dashed red line: below {metric} {value:g} a reconstruction is recognisable."


def sentence(title: str) -> str:
    """A title as a sentence: what captions begin with."""
    return f"{title.rstrip('.')}."


def caption(title: str, sentences: Sequence[str], study: str) -> str:
    """A figure's caption: the title, the sentences that are not empty, and the study, as one paragraph and line."""
    parts = [sentence(title), *sentences, f"All values come from study {study}."]
    return " ".join(part for part in parts if part) + "\n"


def caption_latex(title: str, sentences: Sequence[str], study: str, but: str = "") -> str:
    """The same for a LaTeX table, escaped. but: which values come from elsewhere, after a comma."""
    parts = [escape(part) for part in [sentence(title), *sentences] if part]
    return " ".join([*parts, rf"All values come from study \texttt{{{escape(study)}}}{but}."])


def escape(text: str) -> str:
    """Text for LaTeX: `$math$` with balanced braces stays, every other special character is escaped."""
    parts = _MATH.split(text)
    return "".join(
        part if i % 2 and is_math(part) else "".join(_ESCAPES.get(character, character) for character in part)
        for i, part in enumerate(parts)
    )


def small_grey(text: str) -> str:
    """LaTeX text set small and grey."""
    return rf"{{\scriptsize\color{{gray}}{text}}}"


def line(cells: list[str]) -> str:
    """One line of a tabular."""
    return " & ".join(cells) + r" \\"


def same(labels: Sequence[str], above: Sequence[str]) -> int:
    """How many labels a line shares with the line above, from the left: these are not repeated."""
    pairs = zip(labels, above, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def frame(body: list[str], heading: list[str], labels: int, columns: int, caption: str, name: str, wide: bool) -> str:
    """A complete table environment around the lines of a body.

    heading: lines above the first rule of the body; labels, columns: number of label and value columns;
    name: what `\\ref{tab:<name>}` finds; wide: over both columns of a two-column page.
    """
    environment = "table*" if wide else "table"
    room = (_PAGE if wide else _COLUMN) - 2 * _GAP * (labels + columns - 1)
    ems = _width([*heading, *body])
    size = next((name for name, points in _SIZES.items() if points * ems <= room), None)
    tabular = [
        rf"\begin{{tabular}}{{@{{}}{'l' * labels}{'c' * columns}@{{}}}}",
        *(f"  {text}" for text in [r"\toprule", *heading, r"\midrule", *body, r"\bottomrule"]),
        r"\end{tabular}",
    ]
    if size is None:  # Wider than the page in small type: shrunk to fit.
        tabular = [r"\resizebox{\linewidth}{!}{%", *(f"  {text}" for text in tabular[:-1]), r"  \end{tabular}%", "}"]
    packages = ["booktabs", "xcolor", *(["graphicx"] if size is None else [])]
    lines = [
        "% needs " + ", ".join(rf"\usepackage{{{package}}}" for package in packages),
        rf"\begin{{{environment}}}[t]",
        r"  \centering",
        r"  \setlength{\belowcaptionskip}{4pt}",
        rf"  \caption{{{caption}}}",
        rf"  \label{{tab:{name}}}",
        rf"  \{size or 'footnotesize'}",
        rf"  \setlength{{\tabcolsep}}{{{_GAP:g}pt}}",
        *(f"  {text}" for text in tabular),
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def long_frame(body: list[str], heading: list[str], columns: str, caption: str, name: str) -> str:
    """A table that goes on over pages, in small type.

    columns: the column specification, such as `p{4cm}rr`; the rest as of `frame`.
    """
    head = [r"\toprule", *heading, r"\midrule"]
    lines = [
        r"% needs \usepackage{booktabs}, \usepackage{longtable}",
        r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
        *(f"  {text}" for text in [rf"\caption{{{caption}}}\label{{tab:{name}}}\\", *head, r"\endfirsthead"]),
        *(f"  {text}" for text in [*head, r"\endhead", r"\bottomrule", r"\endfoot", *body]),
        r"\end{longtable}",
        r"\endgroup",
    ]
    return "\n".join(lines) + "\n"


def _markdown_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _width(lines: list[str]) -> float:
    """About how wide the columns of a tabular are, in multiples of the type size."""
    cells = [text.removesuffix(r" \\").split(" & ") for text in lines if r"\multicolumn" not in text]
    return sum(max(map(_ems, column)) for column in itertools.zip_longest(*cells, fillvalue=""))


def _ems(text: str) -> float:
    """About how wide a cell is, in multiples of the type size."""
    wide = {".": 0.3, "±": 1.0} | dict.fromkeys("0123456789", 0.6)
    plain = _MARKUP.sub("", text.replace(r"$\pm$", "±"))
    return sum(wide.get(character, 0.8 if character.isupper() else 0.5) for character in plain)


def check_math(content: object, where: str) -> None:
    """Raise UserError for a text between dollar signs, anywhere in content, that cannot be set."""
    for place, text in texts(content, where):
        wrong = next((part for part in _MATH.findall(text) if not is_math(part)), None)
        if wrong is not None:
            raise UserError(f"{place}: {wrong} cannot be set as mathematics; use fewer or other commands")


def is_math(text: str) -> bool:
    """Whether `$...$` is mathematics that LaTeX and matplotlib can set, and nothing else."""
    commands = re.findall(r"\\([a-zA-Z]+|.)", text)
    known = all(command in _COMMANDS or command in ",;:! {}|" for command in commands)
    return known and "^^" not in text and _balanced(text)


def _balanced(text: str) -> bool:
    depth = 0
    for character in text.replace(r"\{", "").replace(r"\}", ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0
