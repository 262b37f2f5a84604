"""The `gradleak metrics` command: how close one image file is to another."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradleak.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@click.command()
@click.argument("reference", metavar="REF.png", type=click.Path(path_type=Path))
@click.argument("reconstruction", metavar="REC.png", type=click.Path(path_type=Path))
@click.option("--cache", type=click.Path(path_type=Path), help="Cache folder; default: .cache/gradleak.")
def metrics(reference: Path, reconstruction: Path, cache: Path | None) -> None:
    """Compare two images of one size and print their metrics as JSON: lpips, psnr (dB), ssim, mse, ...

    Fetches the LPIPS backbone into the cache folder if it is missing.

    Example: gradleak metrics victim.png reconstruction.png
    """
    # Imported late: `gradleak --help` should not wait for torch.
    from gradleak.data.base import DEFAULT_CACHE
    from gradleak.metrics.backbone import WEIGHTS, fetch_backbone
    from gradleak.metrics.base import score

    cache = cache or DEFAULT_CACHE
    truth, found = _load(reference), _load(reconstruction)
    if truth.shape != found.shape:
        sizes = [f"{image.shape[3]}x{image.shape[2]}" for image in (truth, found)]
        raise UserError(f"'{reference}' is {sizes[0]}, '{reconstruction}' is {sizes[1]}; allowed: one size")
    if not (cache / WEIGHTS).exists():
        click.echo(f"fetching the LPIPS backbone into {cache}", err=True)
        fetch_backbone(cache)
    values = score(truth, found, cache)
    click.echo(json.dumps({name: value.item() for name, value in values.items()}))


def _load(path: Path) -> "Tensor":
    import numpy as np
    import torch
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read as an image ({str(error).splitlines()[0]})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
