"""What a gradient matcher does, and the targets it matches: one row per trial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gradleak.engine.whitening import Whitener, Whitening, grouped_weights
from gradleak.federated.shared_update import SharedUpdate
from gradleak.objectives.base import Objective
from gradleak.priors.base import Moments

Priors = Callable[[Tensor, Moments], Tensor]


def no_priors(images: Tensor, moments: object) -> Tensor:
    """Nothing for every trial (T,): `Priors` of an adversary who believes nothing of images."""
    return torch.zeros(len(images), dtype=images.dtype, device=images.device)


#: A candidate's update and the shared one, both of one trial and by parameter name, to what the candidate's update is
#: expected to look like after the client's post-processing. Differentiable in the first; `torch.func` transforms it.
Expectation = Callable[[dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]


def unprocessed(candidate: dict[str, Tensor], shared: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the candidate's update as it is: the adversary knows of no post-processing."""
    return candidate


@dataclass(frozen=True)
class Evaluation:
    """Objective (T,) float64, weighted priors (T,), and the gradient of their sum, (T, N, 3, H, W)."""

    objective: Tensor
    prior: Tensor
    gradient: Tensor


class Matcher(Protocol):
    """Evaluates candidates (T, N, 3, H, W) in [0, 1] against T targets."""

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        """Objective, priors and gradient of every trial. Trials do not influence each other."""
        ...


@runtime_checkable
class MovingMatcher(Matcher, Protocol):
    """A matcher that changes between iterations: a descent keeps its `state`, tensors by name, with its own."""

    state: dict[str, Tensor]

    def every(self, iterations: int) -> int:
        """How many of a descent's iterations lie between two moves."""
        ...

    def prepare(self) -> None:
        """Become what `state` says, after it was loaded."""
        ...

    def move(self, images: Tensor) -> None:
        """Change, given the candidates (T, N, 3, H, W)."""
        ...


@dataclass(frozen=True)
class Targets:
    """T shared updates stacked: parameter name -> (T, ...); labels int64 (T, N); squared norms float64 (T, L).

    L counts the parameters, in the order of `update`. With a `whitener` whitened gradients are compared: then the norms
    are those of the whitened updates.
    """

    update: dict[str, Tensor]
    labels: Tensor
    norm2: Tensor
    whitener: Whitener | None = None

    @classmethod
    def stack(
        cls, updates: Sequence[SharedUpdate], labels: Sequence[Tensor], device: str, whitening: Whitening | None = None
    ) -> "Targets":
        """Stack the updates of T trials on a device."""
        names = list(updates[0].update)
        stacked = {name: torch.stack([u.update[name] for u in updates]).to(device) for name in names}
        whitener = None if whitening is None else Whitener.of(stacked, whitening, grouped_weights(updates[0].model))
        return cls.of(stacked, torch.stack(list(labels)).to(device), whitener)

    @classmethod
    def of(cls, update: dict[str, Tensor], labels: Tensor, whitener: Whitener | None = None) -> "Targets":
        """What is stacked already, with its squared norms."""
        compared = update if whitener is None else whitener(update)
        norms2 = [
            (value * value).reshape(len(value), -1).sum(dim=1, dtype=torch.float64) for value in compared.values()
        ]
        return cls(update, labels, torch.stack(norms2, dim=1), whitener)


def slopes(objective: Objective, inner: Tensor, norm2: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The objective (T,) and its derivatives with respect to <g, g*> and <g, g>, each float64 (T, L)."""
    with torch.enable_grad():
        a, n = inner.detach().requires_grad_(), norm2.detach().requires_grad_()
        value = objective(a, n, target)
        by_inner, by_norm2 = torch.autograd.grad(value.sum(), (a, n), allow_unused=True)
    zero = torch.zeros_like(inner)
    return value.detach(), zero if by_inner is None else by_inner, zero if by_norm2 is None else by_norm2
