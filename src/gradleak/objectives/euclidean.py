"""Squared Euclidean distance (Zhu et al. 2019)."""

from torch import Tensor

from gradleak.objectives.base import OBJECTIVES


@OBJECTIVES.register("euclidean")
def euclidean(inner: Tensor, norm2: Tensor, target_norm2: Tensor) -> Tensor:
    """|g - g*|^2, shape (T,)."""
    return (norm2 - 2 * inner + target_norm2).sum(1)
