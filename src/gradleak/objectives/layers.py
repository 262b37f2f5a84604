"""Cosine distance layer by layer, weighted by the roots of their norms: layers of small gradients count, too.

In a deep untrained network the gradient shrinks from layer to layer on its way back, so that the last bias has nearly
all of the whole update's norm.
"""

import torch
from torch import Tensor

from gradleak.objectives.base import OBJECTIVES

_TINY = 1e-60  # a layer that no signal comes to has a gradient of zero


@OBJECTIVES.register("layers")
def layers(inner: Tensor, norm2: Tensor, target_norm2: Tensor) -> Tensor:
    """Mean over layers of 1 - <g, g*> / (|g| |g*|) with weights |g*|^(1/2), in [0, 2], shape (T,).

    Halfway between one weight for all layers and the norm. A layer without an update has no weight, one without a
    candidate's gradient the distance 1.
    """
    weights = target_norm2**0.25
    product = norm2 * target_norm2
    seen = product > _TINY
    distances = torch.where(seen, 1 - inner / torch.where(seen, product, 1).sqrt(), 1)
    return (weights * distances).sum(1) / weights.sum(1).clamp_min(_TINY)
