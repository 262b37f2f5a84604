"""The loop over draws that both estimators share: in chunks that fit into memory, until enough is known."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradleak.smoothness.ball import Ball
from gradleak.smoothness.estimate import Estimate, estimate_of
from gradleak.smoothness.layers import LayerNorm
from gradleak.smoothness.problem import Problem
from gradleak.smoothness.settings import SmoothnessSettings

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
    """Draw norms by `method` and return the inverse of their mean; arguments and errors as in `igsa.igsa`."""
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
