"""Top-k sparsification (Foroutan Eghlidi and Jaggi 2020; Appx. C.III): the largest numbers stay."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gradleak.post_processing.base import DEFENSES, FLOAT_BITS, Defense, Processed
from gradleak.post_processing.vectors import flat, norm, shaped


@DEFENSES.register("top_k")
class TopK(Defense):
    """Keeps the k = n - round(ratio n), but at least 1, numbers of largest magnitude among all n of the update.

    Of equal magnitudes the first are kept. Sent: where the kept numbers are, as an entropy-coded mask, and their values
    in fp32. Nothing is random.

    `ratio` is the share of all numbers that is set to zero. Appx. C.III says that a proportion of 0.6 to 0.95 is
    selected; here, as is usual for sparsification, these are shares set to zero.
    """

    technique = "Sparsification"

    name: Literal["top_k"] = "top_k"
    ratio: float = Field(0.9, ge=0, lt=1)

    @property
    def strength(self) -> str:
        """`0.9`."""
        return f"{self.ratio:g}"

    def apply(self, update: Mapping[str, Tensor], random: torch.Generator) -> Processed:
        """See `Defense.apply`."""
        vector = flat(update)
        kept = max(1, len(vector) - round(self.ratio * len(vector)))
        magnitude = vector.abs()
        # By the k-th value and not by indices: which of equal numbers comes first is no device's business.
        threshold = magnitude.topk(kept).values[-1]
        above = magnitude > threshold
        tied = magnitude == threshold
        mask = above | (tied & (tied.long().cumsum(0) <= kept - above.sum()))
        return Processed(shaped(torch.where(mask, vector, 0.0), update), mask.to(torch.int8), FLOAT_BITS * kept)

    def expected(self, candidate: Mapping[str, Tensor], shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the part of the candidate that is visible: kept numbers, and by how much others exceed the threshold.

        The support of the shared update shows which numbers were kept, its smallest magnitude t that all others were
        at most t: outside the support a candidate v gives sign(v) max(|v| - t, 0). At the victims that is the shared
        update. Matching the support alone would forget that the others were small. t is in the candidate's own scale,
        by the norms of both on the support: a later step, or another candidate, may be shorter as a whole.
        """
        kept = {name: value * (shared[name] != 0).to(value.dtype) for name, value in candidate.items()}
        least = torch.stack([_least(value) for value in shared.values()]).min()
        threshold = least * norm(kept) / norm(shared)
        outside = {name: value - kept[name] for name, value in candidate.items()}
        return {
            name: kept[name] + value - torch.minimum(torch.maximum(value, -threshold), threshold).to(value.dtype)
            for name, value in outside.items()
        }

    def norm_bound(self, before: float | None) -> float | None:
        """Return the bound before: numbers that are set to zero make no update longer."""
        return before


def _least(value: Tensor) -> Tensor:
    """The smallest magnitude that is not zero; infinite where all are zero."""
    return torch.where(value != 0, value.abs(), torch.inf).amin()
