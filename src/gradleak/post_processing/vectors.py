"""A whole update as one vector and back."""

from collections.abc import Mapping

import torch
from torch import Tensor


def flat(update: Mapping[str, Tensor]) -> Tensor:
    """All numbers of an update (parameter name -> tensor), in its order: (n,)."""
    return torch.cat([value.flatten() for value in update.values()])


def shaped(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A vector (n,) as an update with the names, order and shapes of another."""
    parts = vector.split([value.numel() for value in like.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(like.items(), parts, strict=True)}


def norm(update: Mapping[str, Tensor]) -> Tensor:
    """Euclidean norm of a whole update, a float64 scalar; its derivative at zero is zero."""
    total = torch.stack([value.double().square().sum() for value in update.values()]).sum()
    return (total + 1e-300).sqrt()
