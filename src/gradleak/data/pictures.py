"""Pictures of images: 8-bit, PNG bytes, contact sheets."""

import io
import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

CAPTION = 14
MARGIN = 4


def contact_sheet(images: Tensor, captions: Sequence[str], columns: int = 10) -> Image.Image:
    """Lay images (n, 3, r, r) in [0, 1] out in rows of `columns`, each with its caption below.

    Small images are enlarged by a whole factor to at least 96 pixels, without smoothing.
    """
    size = images.shape[-1]
    side = size * max(1, math.ceil(96 / size))
    width, height = side + MARGIN, side + CAPTION + MARGIN
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for position, (image, caption) in enumerate(zip(images.cpu(), captions, strict=True)):
        left, top = MARGIN + position % columns * width, MARGIN + position // columns * height
        sheet.paste(to_pil(image).resize((side, side), Image.Resampling.NEAREST), (left, top))
        draw.text((left, top + side), caption[: side // 6], fill="black")
    return sheet


def to_pil(image: Tensor) -> Image.Image:
    """An image (3, H, W) in [0, 1] as an 8-bit picture."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def png(image: Tensor) -> bytes:
    """An image (3, H, W) in [0, 1] as PNG bytes."""
    stream = io.BytesIO()
    to_pil(image).save(stream, format="PNG")
    return stream.getvalue()
