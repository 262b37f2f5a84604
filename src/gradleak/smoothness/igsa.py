"""Two estimators of IGSA (Eq. 10): the paper's by finite differences of the gradient, and one by its derivatives."""

from torch import Tensor, nn
from torch.func import jvp, vmap

from gradleak.errors import UserError
from gradleak.federated.client import Parameters
from gradleak.smoothness.estimate import Ball, Draw, Estimate, estimate
from gradleak.smoothness.problem import LayerNorm, Problem
from gradleak.smoothness.spec import ForwardSettings, IgsaSettings, SmoothnessSpec

_CHECKED = 8
_TOLERANCE = 0.01


def igsa(model: nn.Module, images: Tensor, labels: Tensor, settings: IgsaSettings) -> Estimate:
    """IGSA of images (N, 3, H, W) in [0, 1] with labels (N,), by finite differences: the higher, the smoother (Eq. 10).

        K / sum_k |(Phi(X) - Phi(X + Delta_k)) . omega|,   |g . omega| = 1/L sum_l omega_l |g_l|_2

    Readings, where the paper leaves room: Phi is the gradient of the client's mean loss, batch normalisation in
    evaluation mode. Delta is uniform in the l2-ball of radius r around the whole batch X (for N = 1: around the image),
    in the units of images in [0, 1] and not clipped to them. The norm is not divided by |Delta|, so IGSA is in
    1 / (gradient's unit), and proportional to 1 / r to first order. Layers and omega: `gradleak.smoothness.problem`.

    In float32 the difference of two nearly equal gradients keeps few digits, and rounding may outweigh it: the first
    few points are then computed in float64, too, and more than 1 % between the two is an error.
    Same seed, same draws, on every device. The result is the same up to the rounding of the device's arithmetic.
    Raises UserError for images or labels of a wrong shape or range, for batch normalisation without running statistics,
    where the gradient is not finite or does not change, and where float32 is not enough.
    """
    if settings.precision == "float32":
        _check_rounding(model, images, labels, settings)
    return estimate(_differences, model, images, labels, settings)


def _check_rounding(model: nn.Module, images: Tensor, labels: Tensor, settings: IgsaSettings) -> None:
    few = min(_CHECKED, settings.samples)
    rounded, exact = (
        estimate(_differences, model, images, labels, settings.model_copy(update={"samples": few, "precision": name}))
        for name in ("float32", "float64")
    )
    if abs(rounded.igsa / exact.igsa - 1) > _TOLERANCE:
        raise UserError(
            f"IGSA: precision is 'float32', where radius {settings.radius:g} gives {rounded.igsa:.4g} instead of "
            f"{exact.igsa:.4g} from the same {few} points; use 'float64' or a larger radius"
        )


def _differences(problem: Problem, ball: Ball, norm: LayerNorm) -> Draw:
    here = problem.gradient(problem.images)

    def draw(count: int) -> Tensor:
        there = vmap(problem.gradient)(problem.images + ball.points(count).to(problem.images))
        return norm({name: there[name] - here[name] for name in here})

    return draw


def forward_igsa(model: nn.Module, images: Tensor, labels: Tensor, settings: ForwardSettings) -> Estimate:
    """IGSA of a client with images (N, 3, H, W) in [0, 1] and labels (N,), to first order in r.

    To first order, Phi(X + Delta) - Phi(X) = J Delta. A point uniform in the ball is Delta = rho u, with a direction u
    uniform on the unit sphere and an independent length rho of density d rho^(d-1) / r^d, hence E[rho] = r d / (d + 1)
    with d the number of pixel values. The norm of Eq. 10 is absolutely homogeneous, |rho v| = rho |v|, so

        E |J Delta| = E[rho] E |J u| = r d / (d + 1) E |J u|

    and the mean of |J u| over random directions gives the expectation of Eq. 10. Its limit for r -> 0 is exact wherever
    Phi is differentiable at X. At finite r the two differ by the terms of higher order, and, for networks with kinks
    (ReLU, max-pooling), by the jumps of Phi at the kinks inside the ball, which no derivative sees.

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


def measure(model: nn.Module, images: Tensor, labels: Tensor, spec: SmoothnessSpec) -> Estimate:
    """IGSA at images (N, 3, H, W) in [0, 1] with labels (N,). Readings and errors as in `igsa.igsa`."""
    if isinstance(spec, IgsaSettings):
        return igsa(model, images, labels, spec)
    return forward_igsa(model, images, labels, spec)
