"""What a prior is, and the weighted sum of the priors that an attack uses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from gradleak.federated.shared_update import SharedUpdate
from gradleak.registry import Registry

#: Mean and biased variance, each (T, C), of every batch-normalisation layer's input, computed when asked for.
Moments = Callable[[], list[tuple[Tensor, Tensor]]]

PRIORS: Registry[type["Prior"]] = Registry("prior", "gradleak.priors")


class Prior(ABC):
    """One prior over T trials; built from what the server sees, never from ground truth."""

    #: Knowledge level (Sec. 2.2) that the prior needs.
    level: ClassVar[int] = 1

    def __init__(self, updates: Sequence[SharedUpdate]) -> None:
        """Keep what is needed of the T shared updates, one per trial."""
        self.trials = len(updates)

    @abstractmethod
    def __call__(self, images: Tensor, moments: Moments) -> Tensor:
        """Penalty per trial (T,) of candidates (T, N, 3, H, W) in [0, 1]. Differentiable."""


class WeightedPriors:
    """The sum of priors with their weights, as the paper's alpha R (Eq. 1)."""

    def __init__(
        self, weights: Mapping[str, float] | Sequence[Mapping[str, float]], updates: Sequence[SharedUpdate]
    ) -> None:
        """`weights`: one mapping of prior to weight for all T trials, or one each."""
        weights = [weights] * len(updates) if isinstance(weights, Mapping) else weights
        names = sorted({name for trial in weights for name, weight in trial.items() if weight})
        self._terms = [([trial.get(name, 0.0) for trial in weights], PRIORS[name](updates)) for name in names]
        self._tensors: list[Tensor] = []

    def __call__(self, images: Tensor, moments: Moments) -> Tensor:
        """Weighted penalty per trial (T,), in the images' precision."""
        if not self._tensors:  # made once: a captured iteration must not copy from the host
            self._tensors = [torch.tensor(weights).to(images) for weights, _ in self._terms]
        total = torch.zeros(len(images), dtype=images.dtype, device=images.device)
        for weights, (_, prior) in zip(self._tensors, self._terms, strict=True):
            total = total + weights * prior(images, moments)
        return total


def prior_level(weights: Mapping[str, float]) -> int:
    """The highest knowledge level that a set of weighted priors needs (0 where all weights are zero)."""
    return max((PRIORS[name].level for name, weight in weights.items() if weight), default=0)
