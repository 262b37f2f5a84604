"""Flat clipping (McMahan et al. 2018; Appx. C.III): the whole update's Euclidean norm gets a bound."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gradleak.post_processing.base import DEFENSES, Defense, DefenseConfig, Processed
from gradleak.post_processing.vectors import norm


class ClipConfig(DefenseConfig):
    """`bound`: greatest Euclidean norm of the whole update, in the scale of `shared_update` (a summed gradient)."""

    name: Literal["clip"] = "clip"
    bound: float = Field(1.0, gt=0)

    @property
    def strength(self) -> str:
        """`0.1`."""
        return f"{self.bound:g}"


@DEFENSES.register("clip")
class Clip(Defense):
    """Multiplies the whole update by min(1, bound / norm): its direction stays. Sent in fp32. Nothing is random."""

    Config = ClipConfig
    technique = "Clipping"

    @classmethod
    def apply(cls, config: DefenseConfig, update: Mapping[str, Tensor], random: torch.Generator) -> Processed:
        """See `Defense.apply`."""
        return Processed(_clipped(config, update))

    @classmethod
    def expected(
        cls, config: DefenseConfig, candidate: Mapping[str, Tensor], shared: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The same function of the candidate; of a gradient view the norm is that of the view."""
        return _clipped(config, candidate)

    @classmethod
    def norm_bound(cls, config: DefenseConfig, before: float | None) -> float | None:
        """The bound, or a smaller one that was there before."""
        assert isinstance(config, ClipConfig)
        return config.bound if before is None else min(before, config.bound)


def _clipped(config: DefenseConfig, update: Mapping[str, Tensor]) -> dict[str, Tensor]:
    assert isinstance(config, ClipConfig)
    factor = (config.bound / norm(update)).clamp(max=1.0)
    return {name: value * factor.to(value.dtype) for name, value in update.items()}
