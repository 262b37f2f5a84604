"""Reads the files that a report shows: text, CSV, JSON and PNG. Errors are one line that names the file."""

import base64
import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gradleak.errors import UserError


def read_bytes(path: Path, made_by: str) -> bytes:
    """Content of a file. Raises UserError with the command that makes it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run `{made_by}`") from None


def read_text(path: Path, made_by: str) -> str:
    """Content of a UTF-8 file. Raises UserError as `read_bytes`, and for another encoding."""
    try:
        return read_bytes(path, made_by).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; run `{made_by}` again") from None


def is_number(text: str) -> bool:
    """Whether text is a number; `nan` and `inf` are none."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def number_of(text: str) -> float:
    """The number of a CSV field. NaN where it is empty."""
    return float(text) if text else math.nan


def read_csv(
    path: Path, made_by: str, required: Sequence[str] = (), delimiter: str = ",", numbers: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Lines of a CSV file by column.

    Raises UserError for a file without header or without a required column, and for a field of `numbers`, which are
    required too, that is neither empty nor a number.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, made_by)), restval="", delimiter=delimiter)
    header = list(reader.fieldnames or [])
    if not header:
        raise UserError(f"{path}: has no header; run `{made_by}` again")
    for name in (*required, *numbers):
        if name not in header:
            raise UserError(f"{path}: lacks the column '{name}'; has: {', '.join(header)}; run `{made_by}` again")
    rows = list(reader)
    if any(None in row for row in rows):
        raise UserError(f"{path}: a line has more fields than the header; run `{made_by}` again")
    for name, value in ((name, row[name]) for row in rows for name in numbers):
        if value and not is_number(value):
            raise UserError(f"{path}: {name} '{value}' is not a number; run `{made_by}` again")
    return rows


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """A JSON object. Raises UserError for anything else."""
    text = read_text(path, made_by)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); run `{made_by}` again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; run `{made_by}` again")
    return content


_ZOOM = 1.4
"""Size on a screen, relative to that in print: figures are drawn for the columns of a paper."""

_PIXELS_PER_INCH, _UNKNOWN_DPI = 96.0, 180.0
_TALLEST = 900.0
"""Height on a screen that no figure exceeds before it is enlarged."""


@dataclass(frozen=True)
class Picture:
    """A picture: its file's name, its size in the page in CSS pixels, its address, and what it shows in words."""

    name: str
    width: int
    height: int
    uri: str
    alt: str


def picture(path: Path, alt: str, made_by: str) -> Picture:
    """Read a PNG. Raises UserError for a missing file or another format."""
    content = read_bytes(path, made_by)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            dpi = image.info.get("dpi", (0, 0))[0] or _UNKNOWN_DPI
    except (OSError, ValueError):  # another format, or cut off
        raise UserError(f"{path}: not a PNG; run `{made_by}` again") from None
    scale = min(_ZOOM * _PIXELS_PER_INCH / dpi, _TALLEST / height)
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Picture(path.name, round(width * scale), round(height * scale), uri, alt)
