"""Batch-normalisation statistics (Yin et al. 2021, p_BN): the candidates' feature statistics match the client's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradleak.errors import UserError
from gradleak.federated.shared_update import SharedUpdate
from gradleak.priors.base import PRIORS, Moments, Prior


@PRIORS.register("bn")
class BatchStatisticsPrior(Prior):
    """Sum over layers of |mean - mean*| + |variance - variance*| (Euclidean norms), as Yin et al. Eq. 10.

    The statistics are those of the client's batch, uploaded beside the update (knowledge level 4).
    """

    level = 4

    def __init__(self, updates: Sequence[SharedUpdate]) -> None:
        super().__init__(updates)
        statistics = []
        for update in updates:
            if not update.batch_statistics:
                raise UserError(
                    "prior 'bn' needs batch statistics: a model with batch normalisation and knowledge level 4"
                )
            statistics.append(update.batch_statistics)
        self._targets = [
            (torch.stack([mean for mean, _ in layer]), torch.stack([variance for _, variance in layer]))
            for layer in zip(*statistics, strict=True)
        ]

    def __call__(self, images: Tensor, moments: Moments) -> Tensor:
        """Penalty (T,)."""
        total = torch.zeros(len(images), dtype=images.dtype, device=images.device)
        for (mean, variance), (target_mean, target_variance) in zip(moments(), self._targets, strict=True):
            total = total + _norm(mean - target_mean) + _norm(variance - target_variance)
        return total


def _norm(difference: Tensor) -> Tensor:
    # A norm has no gradient at zero; the offset keeps it finite there.
    return (difference.square().sum(dim=1) + 1e-12).sqrt()
