"""Turns image files into tensors in [0, 1], whatever their format, depth and orientation."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gradleak.errors import UserError
from gradleak.files import read_regular

# What Pillow reads without another program's help. Others of its formats run one (EPS) or are no photographs.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "TGA", "SGI", "PCX", "AVIF")

# Tags of TIFF: how many bits a number has, whether 0 is white, and whether numbers have signs.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it stumbles over is in our own line


def endings() -> tuple[str, ...]:
    """The endings of files that are read as images, in lower case with their dots: `.bmp`, `.gif`, ..."""
    return tuple(sorted(end for end, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO")))


def decode(content: bytes, resolution: int, where: str) -> Tensor:
    """Decode an image file's bytes to (3, r, r) in [0, 1], in steps of 1/255.

    Raises UserError that names `where` if they are no single image whose range is known.
    """
    with _opened(content, where) as image:
        deep = _deep(image)
        return square(image.convert("RGB") if deep is None else _eight_bit(deep), resolution)


def read_image(path: Path) -> Tensor:
    """The image of a file as it is, (3, h, w) in [0, 1]: in steps of 1/255, or finer where the file is.

    Raises UserError that names the file if it is no single image whose range is known.
    """
    with _opened(read_regular(path), str(path)) as image:
        deep = _deep(image)
        pixels = np.array(image.convert("RGB")) if deep is None else np.stack([deep] * 3, axis=2)
        scale = 255 if deep is None else 1
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(torch.float32) / scale


def square(image: Image.Image, resolution: int) -> Tensor:
    """An RGB image as float32 (3, resolution, resolution) in [0, 1], its values multiples of 1/255.

    The short side is resized to `resolution` (bicubic with antialiasing), then the centre is cropped. An
    image that already has this size keeps its pixels exactly.
    """
    width, height = image.size
    if (width, height) != (resolution, resolution):
        scale = resolution / min(width, height)
        size = (max(resolution, round(width * scale)), max(resolution, round(height * scale)))
        left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
        image = image.resize(size, Image.Resampling.BICUBIC)
        image = image.crop((left, top, left + resolution, top + resolution))
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32) / 255


@contextmanager
def _opened(content: bytes, where: str) -> Iterator[Image.Image]:
    """The one picture that a file's bytes hold, upright as its EXIF data say; colour profiles are ignored."""
    if not content:
        raise UserError(f"{where}: is empty, so it cannot be read as an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                if frames > 1:  # a photograph's MPO has small copies of it after the first
                    raise UserError(
                        f"{where}: holds {frames} pictures; save the one that is meant as a file of its own"
                    )
                ImageOps.exif_transpose(image, in_place=True)
                yield image
    except UserError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UserError(f"{where}: has more than {limit} million pixels, no more are read; make it smaller") from None
    except Image.UnidentifiedImageError:
        raise UserError(
            f"{where}: cannot be read as an image (no known format or kind of pixels; read are {formats()})"
        ) from None
    except Exception as error:  # Pillow's readers raise whatever damaged bytes make them stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where}: cannot be read as an image ({reason[:120]})") from None


def _deep(image: Image.Image) -> np.ndarray | None:
    """Grey values (h, w) in [0, 1], float32, of an image of more than 8 bits; None for others.

    Colour images of 16 bits are none: Pillow has cut them to their upper 8. Raises ValueError where the range of the
    values is not known.
    """
    tags = getattr(image, "tag_v2", {})
    if 2 in tags.get(_SAMPLE_FORMAT, ()):
        raise ValueError("its integers have signs, so their range is not known: save it with 8 or 16 bits without")
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return None
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        if not bool(((values >= 0) & (values <= 1)).all()):  # not-a-number is refused, too
            found = f"{values.min():g} to {values.max():g}"
            raise ValueError(f"its numbers are {found}, allowed are 0 to 1: scale them and save it again")
    elif image.mode == "I" and tags:
        raise ValueError("its integers have 32 bits, so their range is not known: save it with 8 or 16 bits")
    else:
        values /= 2 ** tags.get(_BITS, (16,))[0] - 1
    return (1 - values if tags.get(_PHOTOMETRIC) == 0 else values).astype(np.float32)


def _eight_bit(deep: np.ndarray) -> Image.Image:
    return Image.fromarray((deep * 255).round().astype(np.uint8)).convert("RGB")


def formats() -> str:
    """The names of the formats that are read, for errors."""
    return ", ".join(name for name in FORMATS if name != "DIB")
