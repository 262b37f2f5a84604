"""What a metric is, the registry of metrics, and the scoring of matched images by all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from gradleak.registry import Registry

PerImage = Callable[[Tensor, Tensor], Tensor]
"""Takes truth and reconstruction, each (n, 3, h, w) in [0, 1]; returns one float per image, shape (n,)."""


@dataclass(frozen=True)
class Metric:
    """A per-image similarity measure: one column of the results.

    `label` names it on axes, with its unit. `better` says which direction means a closer reconstruction,
    hence more leakage. `factory` takes the cache folder, where weights of a network may lie, and returns the
    function.
    """

    name: str
    label: str
    better: Literal["lower", "higher"]
    factory: Callable[[Path], PerImage]


METRICS: Registry[Metric] = Registry("metric", "gradleak.metrics")


class Scorer:
    """All registered metrics, loaded once; raises UserError where `cache` lacks the weights of one."""

    def __init__(self, cache: Path) -> None:
        self._metrics = {name: METRICS[name].factory(cache) for name in METRICS.names()}

    def __call__(self, truth: Tensor, reconstructed: Tensor) -> dict[str, Tensor]:
        """Score `reconstructed[i]` against `truth[i]`, both (n, 3, h, w) in [0, 1]: name -> (n,) float64.

        The caller matches the images first (`gradleak.metrics.matching`). Raises ValueError for images of
        other shapes, outside [0, 1] or not finite.
        """
        check_pair(truth, reconstructed)
        return {name: metric(truth, reconstructed).double().cpu() for name, metric in self._metrics.items()}


def score(truth: Tensor, reconstructed: Tensor, cache: Path) -> dict[str, Tensor]:
    """Score once by every registered metric; see `Scorer`, which is the choice for more than one call."""
    return Scorer(cache)(truth, reconstructed)


def check_pair(truth: Tensor, reconstructed: Tensor) -> None:
    """Raise ValueError unless both are (n, 3, h, w), of one shape, finite and in [0, 1]."""
    if truth.shape != reconstructed.shape or truth.dim() != 4 or truth.shape[1] != 3:
        raise ValueError(
            f"images are {tuple(truth.shape)} and {tuple(reconstructed.shape)}, allowed: both (n, 3, h, w)"
        )
    for name, images in (("truth", truth), ("reconstruction", reconstructed)):
        # Written so that not-a-number fails too.
        if not bool(((images >= 0) & (images <= 1)).all()):
            raise ValueError(f"{name}: values must be in [0, 1], found {images.min():g} to {images.max():g}")
