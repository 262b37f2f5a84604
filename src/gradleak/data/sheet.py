"""Contact sheets: many small images with their captions in one picture."""

import math
from collections.abc import Sequence

import numpy as np
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
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for position, (picture, caption) in enumerate(zip(pixels, captions, strict=True)):
        left, top = MARGIN + position % columns * width, MARGIN + position // columns * height
        tile = Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(tile, (left, top))
        draw.text((left, top + side), caption[: side // 6], fill="black")
    return sheet
