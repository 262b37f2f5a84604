"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> str:
    """A table; `right` names the headings of the columns that are set flush right."""
    rule = ["---:" if title in right else "---" for title in heading]
    return "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in [heading, rule, *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
