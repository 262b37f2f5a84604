"""What a defense is: its settings, what it makes of an update, and what an adversary may know of that."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gradleak.frozen import Frozen
from gradleak.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEFENSES: Registry[type["Defense"]] = Registry("defense", "gradleak.post_processing")

#: Bits of a number that is sent as it is, and of a scale or a count beside coded symbols.
FLOAT_BITS = 32


@dataclass(frozen=True)
class Processed:
    """What a client sends.

    update: parameter name -> tensor of the parameter's shape, the numbers that the server decodes. symbols: what is
    entropy-coded in their place, integers of any shape, or None where the numbers are sent as they are (fp32).
    side_bits: bits of what is sent beside the symbols, such as scales.
    """

    update: "dict[str, Tensor]"
    symbols: "Tensor | None" = None
    side_bits: int = 0

    @property
    def bits(self) -> int:
        """Bits on the wire, without names, shapes and headers, which both sides know."""
        if self.symbols is None:
            return FLOAT_BITS * sum(value.numel() for value in self.update.values()) + self.side_bits
        return entropy_bits(self.symbols) + self.side_bits


def entropy_bits(symbols: "Tensor") -> int:
    """Length of integers in bits under an ideal entropy code: n times their empirical entropy, rounded up.

    An arithmetic coder comes within a few bytes of it. The table of frequencies is not counted: it has one entry per
    symbol that there is, next to nothing beside an update.
    """
    counts = symbols.flatten().unique(return_counts=True)[1].tolist()
    total = symbols.numel()
    return math.ceil(sum(count * math.log2(total / count) for count in counts))


class Defense(Frozen, ABC):
    """One defense with its settings: a function of a client's whole update, in the sign and scale of `shared_update`.

    A subclass adds its settings as fields. Each becomes a column of the results, `post_processing_<name>_<setting>`.
    BN statistics that a client sends beside its update are not touched by any.
    """

    #: What it belongs to in Figure 11: quantization, sparsification, clipping, perturbation, or a name of its own.
    technique: ClassVar[str]

    name: str

    @property
    def strength(self) -> str:
        """The strength as figures print it: the values of all settings unless a defense says it better."""
        return ", ".join(str(value) for key, value in self if key != "name")

    @abstractmethod
    def apply(self, update: "Mapping[str, Tensor]", random: "torch.Generator") -> Processed:
        """Return what the client sends in place of `update` (parameter name -> tensor); names, shapes and dtypes stay.

        Every random draw comes from `random`, a generator on the update's device.
        """

    def expected(self, candidate: "Mapping[str, Tensor]", shared: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Return what an adaptive adversary matches with `shared`: E[apply(candidate)], or a smooth stand-in for it.

        `candidate` is the update that a reconstruction would give, `shared` what the client sent (parameter name ->
        tensor; of an attack on a gradient view, the view alone). It is a function of one trial that is differentiable
        in the candidate and that `torch.func` transforms: no in-place operation and no branch on values; `vmap` makes
        it one of tensors (R, ...). The default is the identity, which is exact for whatever is unbiased.
        """
        return dict(candidate)

    def norm_bound(self, before: float | None) -> float | None:
        """Return a bound of a whole update's Euclidean norm after it, given the one before; None is no bound."""
        return None

    @property
    def noise_std(self) -> float:
        """Standard deviation of the independent Gaussian noise that it adds to every number; 0 if it adds none."""
        return 0.0
