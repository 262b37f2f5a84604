"""Flat clipping (McMahan et al. 2018; Appx. C.III): the whole update's Euclidean norm gets a bound."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gradleak.post_processing.base import DEFENSES, Defense, Processed
from gradleak.post_processing.vectors import norm


@DEFENSES.register("clip")
class Clip(Defense):
    """Multiplies the whole update by min(1, bound / norm): its direction stays. Sent in fp32. Nothing is random.

    `bound` is the greatest Euclidean norm, in the scale of `shared_update` (for plain SGD a summed gradient).
    """

    technique = "Clipping"

    name: Literal["clip"] = "clip"
    bound: float = Field(1.0, gt=0)

    @property
    def strength(self) -> str:
        """`0.1`."""
        return f"{self.bound:g}"

    def apply(self, update: Mapping[str, Tensor], random: torch.Generator) -> Processed:
        """See `Defense.apply`."""
        return Processed(self._clipped(update))

    def expected(self, candidate: Mapping[str, Tensor], shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Clip the candidate alike; of a gradient view the norm is that of the view."""
        return self._clipped(candidate)

    def norm_bound(self, before: float | None) -> float | None:
        """Return the bound, or a smaller one that was there before."""
        return self.bound if before is None else min(before, self.bound)

    def _clipped(self, update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        factor = (self.bound / norm(update)).clamp(max=1.0)
        return {name: value * factor.to(value.dtype) for name, value in update.items()}
