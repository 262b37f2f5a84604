"""Estimates IGSA from seeded draws: the inverse of a mean norm, with standard error and interval."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor, nn

from gradleak.errors import UserError
from gradleak.smoothness.problem import LayerNorm, Problem
from gradleak.smoothness.spec import SmoothnessSettings


class Ball:
    """The l2-ball of radius r around the origin of images (N, 3, H, W), d = 3 N H W dimensions.

    Draws come one after the other from one generator on the CPU in float64: the k-th draw does not depend on how many
    are asked for at once, nor on the device or precision that use it.
    """

    def __init__(self, shape: torch.Size, radius: float, seed: int) -> None:
        self._shape = shape
        self._radius = radius
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def mean_length(self) -> float:
        """E|Delta| of a point Delta uniform in the ball: r d / (d + 1)."""
        return self._radius * self._shape.numel() / (self._shape.numel() + 1)

    def directions(self, count: int) -> Tensor:
        """Directions uniform on the unit sphere: (count, N, 3, H, W) float64."""
        return torch.stack([self._direction() for _ in range(count)])

    def points(self, count: int) -> Tensor:
        """Points uniform in the ball: (count, N, 3, H, W) float64, each a direction times r u^(1/d), u uniform."""
        return torch.stack([self._direction() * self._length() for _ in range(count)])

    def _direction(self) -> Tensor:
        normal = torch.randn(self._shape, generator=self._generator, dtype=torch.float64)
        return normal / normal.norm()

    def _length(self) -> Tensor:
        uniform = torch.rand((), generator=self._generator, dtype=torch.float64)
        return self._radius * uniform ** (1 / self._shape.numel())


_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """IGSA from K = `samples` draws: the inverse of a mean norm, in the inverse unit of the gradient, > 0.

    `standard_error` is the inverse mean's by the delta method, se(mean) / mean^2. [`low`, `high`] is the 95 % interval:
    Student's interval of the mean, inverted; `high` is infinite where that interval reaches 0.
    """

    igsa: float
    standard_error: float
    low: float
    high: float
    samples: int

    @property
    def relative_error(self) -> float:
        """Standard error over IGSA; by the delta method it is that of the mean, too."""
        return self.standard_error / self.igsa


def estimate_of(norms: Tensor) -> Estimate:
    """The estimate from independent norms (K,) float64, K >= 2.

    The inverse of a mean is biased by about the squared relative error, which is left: 0.0001 of the value at 1 %.
    Raises UserError where IGSA is not a number: gradients that are not finite, or do not change at all.
    """
    samples, mean = len(norms), norms.mean().item()
    if not math.isfinite(mean):
        raise UserError("IGSA: the gradient around these images is not finite; the model or the radius is too large")
    if mean == 0:
        raise UserError("IGSA: the gradient around these images does not change; must change, a larger radius may help")
    error = norms.std().item() / math.sqrt(samples)
    half = student.ppf((1 + _CONFIDENCE) / 2, samples - 1).item() * error
    high = 1 / (mean - half) if mean > half else math.inf
    return Estimate(1 / mean, error / mean**2, 1 / (mean + half), high, samples)


_LOOK_FIRST = 128  # a standard error from fewer draws may be far too small, and stop the loop
_LOOK_EVERY = 64  # fixed, so that the number of draws does not depend on the device's memory

#: Draws the next `count` norms, (count,) float64 on the CPU.
Draw = Callable[[int], Tensor]

#: Starts a sequence of draws from the problem, the seeded ball and the norm of Eq. 10.
Method = Callable[[Problem, Ball, LayerNorm], Draw]


@torch.no_grad()
def estimate(
    method: Method, model: nn.Module, images: Tensor, labels: Tensor, settings: SmoothnessSettings
) -> Estimate:
    """Draw norms by `method` and return the inverse of their mean. Arguments and errors as in `igsa.igsa`."""
    problem = Problem(model, images, labels, settings.precision)
    norm = LayerNorm(problem.model, settings.order)

    def run(chunk: int) -> Tensor:
        draw = method(problem, Ball(images.shape, settings.radius, settings.seed), norm)
        return _until_known(draw, chunk, settings)

    return estimate_of(problem.at_once(run))


def _until_known(draw: Draw, chunk: int, settings: SmoothnessSettings) -> Tensor:
    found = torch.empty(0, dtype=torch.float64)
    look = _LOOK_FIRST
    while len(found) < settings.samples:
        end = min(look, settings.samples)
        while len(found) < end:
            found = torch.cat([found, draw(min(chunk, end - len(found)))])
        if settings.relative_error and estimate_of(found).relative_error <= settings.relative_error:
            break
        look += _LOOK_EVERY
    return found
