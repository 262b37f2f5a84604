"""A faster estimator of IGSA: directional derivatives of the gradient by forward-mode differentiation.

To first order in r, Phi(X + Delta) - Phi(X) = J Delta. A point uniform in the ball is Delta = rho u with a direction u
uniform on the unit sphere and an independent length rho of density d rho^(d-1) / r^d, hence E[rho] = r d / (d + 1), d
the number of pixel values. The norm of Eq. 10 is absolutely homogeneous, |rho v| = rho |v|, so

    E |J Delta| = E[rho] E |J u| = r d / (d + 1) E |J u|

and the mean of |J u| over random directions gives the expectation of Eq. 10 to first order in r. Its limit for r -> 0
is exact wherever Phi is differentiable at X. At finite r the two differ by the terms of higher order, and, for
networks with kinks (ReLU, max-pooling), by the jumps of Phi at the kinks inside the ball, which no derivative sees.
"""

from torch import Tensor, nn
from torch.func import jvp, vmap

from gradleak.federated.client import Parameters
from gradleak.smoothness.ball import Ball
from gradleak.smoothness.estimate import Estimate
from gradleak.smoothness.layers import LayerNorm
from gradleak.smoothness.problem import Problem
from gradleak.smoothness.sampling import Draw, estimate
from gradleak.smoothness.settings import ForwardSettings


def forward_igsa(model: nn.Module, images: Tensor, labels: Tensor, settings: ForwardSettings) -> Estimate:
    """IGSA of a client with images (N, 3, H, W) in [0, 1] and labels (N,), to first order in r; see this module.

    Readings and errors are those of `igsa.igsa`. The interval covers the sampling of directions, not the difference
    between the first order and r > 0. Where `samples` draws end before the target, the relative error is above it.
    """
    return estimate(_derivatives, model, images, labels, settings)


def _derivatives(problem: Problem, ball: Ball, norm: LayerNorm) -> Draw:
    def derivative(direction: Tensor) -> Parameters:
        return jvp(problem.gradient, (problem.images,), (direction,))[1]

    def draw(count: int) -> Tensor:
        # The point X is the same for all directions: only tangents are batched.
        return ball.mean_length * norm(vmap(derivative)(ball.directions(count).to(problem.images)))

    return draw
