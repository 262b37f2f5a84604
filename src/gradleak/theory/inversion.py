"""Closed-form inversion of one sample's gradient: Eq. (7) as printed, and two readings that hold more often."""

from collections.abc import Callable

import torch
from torch import Tensor

from gradleak.theory.network import Network, loss_slope

Route = Callable[[Network, tuple[Tensor, ...], Tensor, float], Tensor]


def printed(network: Network, gradients: tuple[Tensor, ...], y: Tensor, mu: float) -> Tensor:
    """Eq. (7) to the letter: y mu, then W_l^T and sigma^-1 layer by layer; of the gradient it uses mu alone.

    Transposes undo layers only if W_1 to W_{L-1} have orthonormal columns, W_L has length 1 and F_{L-1} is parallel to
    it: a number does not tell a vector. Returns the image (1, D).
    """
    feature = y * mu * network.weights[-1]
    for weight in reversed(network.weights[:-1]):
        feature = network.unactivate(feature) @ weight
    return feature


def inverses(network: Network, gradients: tuple[Tensor, ...], y: Tensor, mu: float) -> Tensor:
    """F_{L-1} from the last layer's gradient (Eq. 13) divided by dl/dmu, then pseudo-inverses of W_l and sigma^-1.

    Exact if sigma is invertible and no layer has fewer outputs than inputs. Returns the image (1, D).
    """
    feature = _last_feature(gradients, y, mu)
    for inverse in reversed(network.inverses):
        feature = network.unactivate(feature) @ inverse.T
    return feature


def by_gradients(network: Network, gradients: tuple[Tensor, ...], y: Tensor, mu: float) -> Tensor:
    """F_{L-1} as `inverses`, then F_{l-1} from the gradient of W_l, which is the outer product delta_l F_{l-1}.

    Exact for any widths, and for ReLU, too, as long as no delta_l is 0. Returns the image (1, D).
    """
    feature = _last_feature(gradients, y, mu)
    delta = y * loss_slope(torch.tensor(mu, dtype=torch.float64))
    for layer in range(len(network.weights) - 2, -1, -1):
        delta = (delta @ network.weights[layer + 1]) * network.activation_slope(feature).squeeze(0)
        feature = (delta @ gradients[layer] / (delta @ delta)).unsqueeze(0)
    return feature


ROUTES: dict[str, Route] = {"printed": printed, "inverses": inverses, "gradients": by_gradients}


def _last_feature(gradients: tuple[Tensor, ...], y: Tensor, mu: float) -> Tensor:
    return gradients[-1] / (y * loss_slope(torch.tensor(mu, dtype=torch.float64)))
