"""Detailed and plain regions of an image, and how well their high frequencies come back (Sec. 4.2.2, Fig. 5).

The paper shows that attacks lose the details that matter (clock hands, digits, text), with pictures. These columns
measure it. What is detail follows from the ground truth alone, so that no reconstruction chooses its own region.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from gradleak.metrics.base import METRICS, Column, Metric, check_pair

SIGMA = 1.0
"""Standard deviation, in pixels of a 32-pixel image, of the blur that the high-pass subtracts."""

SPREAD = 2.0
"""The same of the Gaussian that spreads the energy of a detail over its surroundings."""

DETAIL, BACKGROUND = 0.25, 0.5
"""Shares of an image's pixels that are its detail (the highest energy) and its background (the lowest)."""


@dataclass(frozen=True)
class Regions:
    """Boolean masks (n, h, w) of n images; they never overlap."""

    detail: Tensor
    background: Tensor

    def averages(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of each map (n, h, w) over detail and over background, each (n,), float64."""
        values = maps.double().cpu()
        masks = [mask.double() for mask in (self.detail, self.background)]
        detail, background = ((values * mask).sum((1, 2)) / mask.sum((1, 2)) for mask in masks)
        return detail, background


def regions(truth: Tensor) -> Regions:
    """The regions of ground truths (n, 3, h, w) in [0, 1].

    Pixels are ranked by local energy: the squared high-pass of the grey image (mean of the channels), smoothed by
    a Gaussian of 2 px at 32 px. Detail is the highest quarter (h w // 4 pixels, at least one), background the lowest
    half. Among equal energies the pixels further up and left rank lower.
    """
    energy = _blurred(high_pass(truth.double().mean(dim=1)).square(), SPREAD).flatten(1)
    ranks = energy.argsort(dim=1, stable=True).argsort(dim=1).view(-1, *truth.shape[2:])
    pixels = energy.shape[1]
    return Regions(ranks >= pixels - max(1, int(DETAIL * pixels)), ranks < max(1, int(BACKGROUND * pixels)))


def high_pass(images: Tensor) -> Tensor:
    """Images (..., h, w) in [0, 1] minus their Gaussian blur: same shape, float64, above -1 and below 1.

    The blur has a standard deviation of 1 px where the short side has 32, in proportion elsewhere, and continues
    an image beyond its border by its nearest pixel.
    """
    images = images.detach().double().cpu()
    return images - _blurred(images, SIGMA)


def detail(truth: Tensor) -> Tensor:
    """How detailed ground truths (n, 3, h, w) in [0, 1] are: the root mean square of the grey image's high-pass.

    Shape (n,), float64, in units of pixel values: 0 for one flat colour, below 1; photographs have about 0.02 to 0.13.
    """
    return high_pass(truth.double().mean(dim=1)).square().mean(dim=(1, 2)).sqrt()


def high_frequency_errors(truth: Tensor, reconstructed: Tensor) -> dict[str, Tensor]:
    """`hf_detail`, `hf_background` and `detail` of each pair (n, 3, h, w) in [0, 1]: each (n,), float64.

    The first two are the root mean square, over a region's pixels and the channels, of the difference between the
    high-pass filtered images: 0 (nothing lost) to 2 in units of pixel values. A reconstruction without any high
    frequency has the truth's own root mean square there. `detail` is that of the truth, see `detail`.
    """
    check_pair(truth, reconstructed)
    lost = high_pass(truth.double() - reconstructed.double()).square().mean(dim=1)
    inside, outside = regions(truth).averages(lost)
    return {"hf_detail": inside.sqrt(), "hf_background": outside.sqrt(), "detail": detail(truth)}


def _blurred(images: Tensor, sigma: float) -> Tensor:
    pixels = sigma * min(images.shape[-2:]) / 32
    sigmas = (*([0.0] * (images.dim() - 2)), pixels, pixels)
    return torch.from_numpy(np.asarray(gaussian_filter(images.numpy(), sigmas, mode="nearest")))


METRICS.register("regions")(
    Metric(
        {
            "hf_detail": Column("HF error of details", "lower", "region"),
            "hf_background": Column("HF error of background", "lower", "region"),
            "detail": Column("Detail", "neither", "truth"),
        },
        lambda cache: high_frequency_errors,
    )
)
