"""The fully connected network of Eqs. (3) to (5): binary classification, leaky ReLU, no bias."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Network:
    """Layers F_l = sigma(W_l F_{l-1}), F_0 = x, and the logit mu = y W_L F_{L-1} (Eqs. 3 and 4).

    weights: W_1 to W_L, float64, W_l of shape (n_l, n_{l-1}), n_0 = D and n_L = 1. leak: sigma's slope below 0; with 0
    it is ReLU. The loss is the mean of log(1 + e^-mu) (Eq. 5) over the batch.
    """

    weights: tuple[Tensor, ...]
    leak: float

    @cached_property
    def inverses(self) -> tuple[Tensor, ...]:
        """Pseudo-inverses (n_{l-1}, n_l) of W_1 to W_{L-1}, which have full rank."""
        layers = self.weights[:-1]
        return tuple(torch.linalg.lstsq(w, torch.eye(len(w), dtype=w.dtype)).solution for w in layers)

    def features(self, x: Tensor) -> list[Tensor]:
        """F_0 to F_{L-1} of images x (B, D), each (B, n_l)."""
        found = [x]
        for weight in self.weights[:-1]:
            found.append(self.activate(found[-1] @ weight.T))
        return found

    def logit(self, x: Tensor, y: Tensor) -> Tensor:
        """mu (B,) of images (B, D) with labels (B,) of -1 or 1."""
        return y * (self.features(x)[-1] @ self.weights[-1].T).squeeze(1)

    def gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """The loss's gradient with respect to every W_l, by Eq. (13)."""
        features = self.features(x)
        delta = (y * loss_slope(self.logit(x, y)) / len(x)).unsqueeze(1)
        found = [delta.T @ features[-1]]
        for layer in range(len(self.weights) - 2, -1, -1):
            delta = (delta @ self.weights[layer + 1]) * self.activation_slope(features[layer + 1])
            found.append(delta.T @ features[layer])
        return tuple(reversed(found))

    def product(self, gradients: tuple[Tensor, ...]) -> float:
        """The left side of Eq. (6): W_L times the gradient with respect to it, or times an update (Eq. 16)."""
        return float((gradients[-1] * self.weights[-1]).sum())

    def activate(self, z: Tensor) -> Tensor:
        """sigma."""
        return torch.where(z > 0, z, self.leak * z)

    def activation_slope(self, feature: Tensor) -> Tensor:
        """sigma' where sigma has the value `feature`."""
        return torch.where(feature > 0, torch.ones_like(feature), self.leak)

    def unactivate(self, feature: Tensor) -> Tensor:
        """sigma^-1; ReLU has none: what it set to 0 is taken to have been 0."""
        return feature if self.leak == 0 else torch.where(feature > 0, feature, feature / self.leak)

    def stepped(self, gradients: tuple[Tensor, ...], lr: float) -> "Network":
        """The network after one step of gradient descent."""
        pairs = zip(self.weights, gradients, strict=True)
        return Network(tuple(weight - lr * gradient for weight, gradient in pairs), self.leak)


def loss_slope(mu: Tensor) -> Tensor:
    """The loss's derivative with respect to the logit, -1 / (1 + e^mu)."""
    return -torch.sigmoid(-mu)


def random_network(widths: tuple[int, ...], leak: float, generator: torch.Generator) -> Network:
    """Gaussian weights that keep the features' mean square (He et al. 2015); widths: D, n_1, ..., n_{L-1}."""
    gain = (2 / (1 + leak**2)) ** 0.5
    shapes = [*zip(widths[1:], widths[:-1], strict=True), (1, widths[-1])]
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    scales = [gain if layer < len(weights) - 1 else 1.0 for layer in range(len(weights))]
    return Network(tuple(s * w / w.shape[1] ** 0.5 for s, w in zip(scales, weights, strict=True)), leak)


def orthogonal_network(size: int, layers: int, leak: float, generator: torch.Generator) -> Network:
    """Square orthogonal W_1 to W_{L-1} of a size, and W_L of length 1 in a random direction."""
    square = [torch.randn(size, size, generator=generator, dtype=torch.float64) for _ in range(layers - 1)]
    head = torch.randn(1, size, generator=generator, dtype=torch.float64)
    return Network((*(torch.linalg.qr(weight)[0] for weight in square), head / head.norm()), leak)


def with_logit(network: Network, x: Tensor, mu: float) -> tuple[Network, Tensor]:
    """The network with its last layer rescaled, and the label (1,), such that one image x (1, D) has a logit."""
    score = (network.features(x)[-1] @ network.weights[-1].T).squeeze()
    y = torch.sign(score) if mu > 0 else -torch.sign(score)
    head = network.weights[-1] * (abs(mu) / score.abs())
    return Network((*network.weights[:-1], head), network.leak), y.view(1)


def aligned(network: Network, x: Tensor) -> Network:
    """The network with W_L of length 1 along the features of image x (1, D): what Eq. (7) as printed needs."""
    feature = network.features(x)[-1]
    return Network((*network.weights[:-1], feature / feature.norm()), network.leak)


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
