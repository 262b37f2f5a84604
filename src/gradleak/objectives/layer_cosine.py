"""Layer-wise cosine distance: every matched parameter counts the same, however small its gradient is."""

from torch import Tensor

from gradleak.objectives.base import OBJECTIVES

_TINY = 1e-60


@OBJECTIVES.register("layer_cosine")
def layer_cosine(inner: Tensor, norm2: Tensor, target_norm2: Tensor) -> Tensor:
    """The mean of 1 - <g, g*> / (|g| |g*|) over the layers whose g* is not zero, in [0, 2], shape (T,).

    At random weights the gradient of a deep network without skip connections is that of its last layers: the cosine of
    whole gradients hardly changes with the image.
    """
    seen = target_norm2 > 0
    distance = 1 - inner / (norm2 * target_norm2).clamp_min(_TINY).sqrt()
    return (distance * seen).sum(1) / seen.sum(1).clamp_min(1)
