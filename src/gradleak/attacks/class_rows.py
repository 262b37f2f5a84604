"""The rows of the classes: the parameter whose every row moves the logit of its own class alone.

Such a parameter is the bias or the weight of the layer whose output is the logits. It is found by derivatives, wherever
it stands in the model and whatever comes after it. The gradient of the cross-entropy with soft labels q is linear in q,
and only of such a parameter does row c depend on q_c alone:

    G_c(q) = A_c - q_c V_c,    V_c = mean over images of d logit_c / d row_c.

A bias has V_c = 1. A temperature behind it, or a weight's features, are in V, so that nothing else has to know of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gradleak.federated.client import parameters_of

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ClassRows:
    """A parameter with a row per class along `axis`, and V of the module's text, float64 (classes, size of a row).

    `alike` says whether V is the same for all images, so that its scale is known: a bias.
    """

    name: str
    axis: int
    moved: Tensor
    alike: bool

    def project(self, gradient: Tensor) -> Tensor:
        """The gradient of the logits, float64 (classes,), that a gradient of this parameter came from."""
        return (_rows(gradient, self.axis) * self.moved).sum(dim=1) / self.moved.square().sum(dim=1)


def find_class_rows(model: nn.Module, names: Iterable[str], num_classes: int, images: Tensor) -> ClassRows | None:
    """The rows of the classes among the parameters of these names, asked with images (n, 3, H, W), n even.

    Of several those that all images move most alike: a bias, if there is one. None if there are none.
    """
    own = parameters_of(model)
    found = [(name, axis) for name in names for axis, size in enumerate(own[name].shape) if size == num_classes]
    if not found:
        return None
    leaves = {name: own[name].requires_grad_() for name, _ in found}
    soft = _soft_labels(num_classes, images.device)
    halves = [_gradients(model, own, leaves, half, soft) for half in images.chunk(2)]
    best, least = None, float("inf")
    for name, axis in found:
        one, other = (_moved([_rows(g, axis) for g in half[name]], soft) if name in half else None for half in halves)
        if one is None or other is None:
            continue
        spread = float((one - other).norm() / (one + other).norm())
        if spread < least:
            best, least = ClassRows(name, axis, (one + other) / 2, spread <= _TOLERANCE), spread
    return best


def _soft_labels(num_classes: int, device: torch.device) -> list[Tensor]:
    """Three distributions, float64 (classes,): all alike, and two that differ from it in every class."""
    every = torch.arange(num_classes, device=device, dtype=torch.float64)
    weights = [torch.ones_like(every), 1 + 0.5 * (-1) ** every, 1 + (every + 0.5) / num_classes]
    return [weight / weight.sum() for weight in weights]


def _gradients(
    model: nn.Module, own: dict[str, Tensor], leaves: dict[str, Tensor], images: Tensor, soft: list[Tensor]
) -> dict[str, list[Tensor]]:
    """The gradient under each of the soft labels of every leaf that the answer depends on."""
    with torch.enable_grad():
        logits = functional_call(model, own | leaves, (images,))
        losses = [F.cross_entropy(logits, labels.to(logits).expand_as(logits)) for labels in soft]
        by_labels = [
            torch.autograd.grad(loss, list(leaves.values()), retain_graph=True, allow_unused=True) for loss in losses
        ]
    by_leaf = zip(leaves, zip(*by_labels, strict=True), strict=True)
    return {name: list(gradients) for name, gradients in by_leaf if gradients[0] is not None}


def _moved(gradients: list[Tensor], soft: list[Tensor]) -> Tensor | None:
    """V from the gradients under two labels, if they foretell the third; else rows see the labels of other classes."""
    even, first, second = (labels.cpu()[:, None] for labels in soft)
    moved = (gradients[0] - gradients[1]) / (first - even)
    told = gradients[0] + (even - second) * moved
    error = (told - gradients[2]).norm(dim=1)
    alone = error <= _TOLERANCE * (second * moved).norm(dim=1)
    return moved if bool((alone & (moved.norm(dim=1) > 0)).all()) else None


def _rows(gradient: Tensor, axis: int) -> Tensor:
    return gradient.detach().cpu().double().movedim(axis, 0).reshape(gradient.shape[axis], -1)
