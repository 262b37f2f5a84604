"""SignSGD (Bernstein et al. 2018; Appx. C.III): one sign per number."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gradleak.post_processing.base import DEFENSES, FLOAT_BITS, Defense, DefenseConfig, Processed


class SignSgdConfig(DefenseConfig):
    """`scale` is the magnitude of every number: a constant (the paper's 1), or `mean`.

    `mean` is the mean magnitude of the parameter's update (Karimireddy et al. 2019), so that the client's learning
    rate keeps its meaning.
    """

    name: Literal["signsgd"] = "signsgd"
    scale: Literal["mean"] | Annotated[float, Field(gt=0)] = "mean"

    @property
    def strength(self) -> str:
        """`sign`."""
        return "sign"


@DEFENSES.register("signsgd")
class SignSgd(Defense):
    """Every number becomes its sign times the scale; zero stays zero.

    Sent: one symbol of -1, 0, 1 per number, entropy-coded, and with `scale: mean` one fp32 scale per parameter tensor.
    Nothing is random.
    """

    Config = SignSgdConfig
    technique = "Quantization"

    @classmethod
    def apply(cls, config: DefenseConfig, update: Mapping[str, Tensor], random: torch.Generator) -> Processed:
        """See `Defense.apply`."""
        assert isinstance(config, SignSgdConfig)
        decoded = {name: _scale(config, value) * value.sign() for name, value in update.items()}
        symbols = torch.cat([value.sign().flatten() for value in update.values()]).to(torch.int8)
        return Processed(decoded, symbols, FLOAT_BITS * len(update) if config.scale == "mean" else 0)

    @classmethod
    def expected(
        cls, config: DefenseConfig, candidate: Mapping[str, Tensor], shared: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The soft sign: scale tanh(v / m), m the mean magnitude of the parameter's candidate.

        The sign itself has no gradient. tanh is it for numbers well above m and is linear in those well below. m is 1
        where all of a parameter's numbers are zero.
        """
        assert isinstance(config, SignSgdConfig)
        return {name: _scale(config, value) * torch.tanh(value / _unit(value)) for name, value in candidate.items()}

    @classmethod
    def norm_bound(cls, config: DefenseConfig, before: float | None) -> float | None:
        """With `scale: mean` no longer than before: mean magnitude times sqrt(n) is at most the Euclidean norm."""
        assert isinstance(config, SignSgdConfig)
        return before if config.scale == "mean" else None


def _scale(config: SignSgdConfig, value: Tensor) -> Tensor | float:
    return value.abs().mean() if config.scale == "mean" else config.scale


def _unit(value: Tensor) -> Tensor:
    mean = value.abs().mean()
    return torch.where(mean > 0, mean, 1.0)
