"""Turns encoded or decoded pictures into square tensors in [0, 1]."""

import io

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gradleak.errors import UserError


def decode(content: bytes, resolution: int, where: str) -> Tensor:
    """Decode an image file's bytes to (3, r, r) in [0, 1].

    Raises UserError that names `where` if they are no image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return square(image.convert("RGB"), resolution)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: cannot be read as an image ({str(error).splitlines()[0]})") from None


def square(image: Image.Image, resolution: int) -> Tensor:
    """An RGB image as float32 (3, resolution, resolution) in [0, 1], its values multiples of 1/255.

    The short side is resized to `resolution` (bicubic with antialiasing), then the centre is cropped. An
    image that already has this size keeps its pixels exactly.
    """
    width, height = image.size
    if (width, height) != (resolution, resolution):
        scale = resolution / min(width, height)
        size = (max(resolution, round(width * scale)), max(resolution, round(height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
        image = image.crop((left, top, left + resolution, top + resolution))
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32) / 255
