"""IGSA by the estimator that a cell names."""

from torch import Tensor, nn

from gradleak.smoothness.estimate import Estimate
from gradleak.smoothness.forward import forward_igsa
from gradleak.smoothness.igsa import igsa
from gradleak.smoothness.spec import FiniteSpec, SmoothnessSpec


def measure(model: nn.Module, images: Tensor, labels: Tensor, spec: SmoothnessSpec) -> Estimate:
    """IGSA at images (N, 3, H, W) in [0, 1] with labels (N,); readings and errors as in `igsa.igsa`."""
    if isinstance(spec, FiniteSpec):
        return igsa(model, images, labels, spec)
    return forward_igsa(model, images, labels, spec)
