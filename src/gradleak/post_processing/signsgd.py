"""SignSGD (Bernstein et al. 2018; Appx. C.III): one sign per number."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gradleak.post_processing.base import DEFENSES, FLOAT_BITS, Defense, Processed


@DEFENSES.register("signsgd")
class SignSgd(Defense):
    """Makes every number its sign times the scale; zero stays zero.

    Sent: one symbol of -1, 0, 1 per number, entropy-coded, and with `scale: mean` one fp32 scale per parameter tensor.
    Nothing is random.

    `scale` is the magnitude of every number: a constant (the paper's 1), or `mean`, the mean magnitude of the
    parameter's update (Karimireddy et al. 2019), so that the client's learning rate keeps its meaning.
    """

    technique = "Quantization"

    name: Literal["signsgd"] = "signsgd"
    scale: Literal["mean"] | Annotated[float, Field(gt=0)] = "mean"

    @property
    def strength(self) -> str:
        """`sign`."""
        return "sign"

    def apply(self, update: Mapping[str, Tensor], random: torch.Generator) -> Processed:
        """See `Defense.apply`."""
        decoded = {name: self._magnitude(value) * value.sign() for name, value in update.items()}
        symbols = torch.cat([value.sign().flatten() for value in update.values()]).to(torch.int8)
        return Processed(decoded, symbols, FLOAT_BITS * len(update) if self.scale == "mean" else 0)

    def expected(self, candidate: Mapping[str, Tensor], shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the soft sign: scale tanh(v / m), m the mean magnitude of the parameter's candidate.

        The sign itself has no gradient. tanh is it for numbers well above m and is linear in those well below. m is 1
        where all of a parameter's numbers are zero.
        """
        return {name: self._magnitude(value) * torch.tanh(value / _unit(value)) for name, value in candidate.items()}

    def norm_bound(self, before: float | None) -> float | None:
        """Return the bound before with `scale: mean`, as mean magnitude times sqrt(n) is at most the norm."""
        return before if self.scale == "mean" else None

    def _magnitude(self, value: Tensor) -> Tensor | float:
        return value.abs().mean() if self.scale == "mean" else self.scale


def _unit(value: Tensor) -> Tensor:
    mean = value.abs().mean()
    return torch.where(mean > 0, mean, 1.0)
