"""Cosine distance (Geiping et al. 2020): blind to the update's scale."""

from torch import Tensor

from gradleak.objectives.base import OBJECTIVES

_TINY = 1e-60  # of converged models both gradients are small: 1e-8 each is no zero


@OBJECTIVES.register("cosine")
def cosine(inner: Tensor, norm2: Tensor, target_norm2: Tensor) -> Tensor:
    """1 - <g, g*> / (|g| |g*|), in [0, 2], shape (T,)."""
    return 1 - inner.sum(1) / (norm2.sum(1) * target_norm2.sum(1)).clamp_min(_TINY).sqrt()
