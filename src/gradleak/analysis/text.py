"""Numbers and values as text, and rows as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence


def fixed(value: float, digits: int = 6) -> str:
    """A number with `digits` digits after the point, by default those of CSV files. Nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def as_text(value: object) -> str:
    """One value of a label or column as text; whole floats lose their fraction."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def interval(low: float, high: float, digits: int) -> str:
    """`0.012 to 0.034`. Nothing where there is none (NaN)."""
    return "" if math.isnan(low) else f"{fixed(low, digits)} to {fixed(high, digits)}"


def p_value(p: float) -> str:
    """`0.012`, or `<0.001`. Nothing for NaN."""
    return "<0.001" if p < 0.001 else fixed(p, 3)


def minus(text: str, sign: str = "−") -> str:
    """Text with `sign` (in LaTeX: `$-$`) for its hyphens, which are too short for a minus."""
    return text.replace("-", sign)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows, the heading first, as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
