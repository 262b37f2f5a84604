"""Gaussian perturbation (Naseri et al. 2022; Appx. C.III): independent noise on every number."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gradleak.post_processing.base import DEFENSES, Defense, Processed


@DEFENSES.register("noise")
class Noise(Defense):
    """Adds independent Gaussian noise of mean zero to every number. Sent in fp32. Unbiased.

    Its standard deviation is `multiplier` times `scale`, in the scale of `shared_update` (for plain SGD a summed
    gradient). Appx. C.III does not say what its multipliers multiply. With `scale` 1 they are standard deviations; with
    the bound of a clipping before, they are the noise multipliers of DP-SGD.
    """

    technique = "Perturbation"

    name: Literal["noise"] = "noise"
    multiplier: float = Field(0.1, ge=0)
    scale: float = Field(1.0, gt=0)

    @property
    def strength(self) -> str:
        """`0.1`."""
        return f"{self.multiplier:g}"

    def apply(self, update: Mapping[str, Tensor], random: torch.Generator) -> Processed:
        """See `Defense.apply`."""

        def noisy(value: Tensor) -> Tensor:
            draws = torch.randn(value.shape, generator=random, device=value.device, dtype=value.dtype)
            return value + self.noise_std * draws

        return Processed({name: noisy(value) for name, value in update.items()})

    @property
    def noise_std(self) -> float:
        """See `Defense.noise_std`."""
        return self.multiplier * self.scale
