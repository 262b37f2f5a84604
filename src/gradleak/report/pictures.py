"""Pictures inside the page: PNG as data URIs."""

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradleak.errors import UserError
from gradleak.report.read import read_bytes

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
    """Read a PNG; raises UserError for a missing file or another format."""
    content = read_bytes(path, made_by)
    try:
        chunks = dict(_head(content))
        width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    except (KeyError, struct.error, ZeroDivisionError):
        raise UserError(f"{path}: not a PNG; run `{made_by}` again") from None
    scale = min(_ZOOM * _PIXELS_PER_INCH / _dpi(chunks.get(b"pHYs", b"")), _TALLEST / height)
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Picture(path.name, round(width * scale), round(height * scale), uri, alt)


def _head(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks before the pixels, by name; nothing where the content is no PNG."""
    at = len(_SIGNATURE)
    while content.startswith(_SIGNATURE) and at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        if name == b"IDAT":
            return
        yield name, content[at + 8 : at + 8 + length]
        at += length + 12


def _dpi(physical: bytes) -> float:
    """Pixels per inch as the chunk `pHYs` says (pixels per metre); it may be missing or speak of no length."""
    if len(physical) != 9 or physical[8] != 1:
        return _UNKNOWN_DPI
    return float(struct.unpack(">I", physical[:4])[0]) * 0.0254 or _UNKNOWN_DPI
