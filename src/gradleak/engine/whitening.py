"""Whitening: layers' gradients are compared after division by powers of what the shared update's is made of.

A layer's gradient is a sum over images and positions of products of backward signals and inputs. A few directions, such
as the mean input, carry most of its norm and little of what tells images apart, so a distance of gradients sees little
else. With the singular values s of the shared update's matrix, whitening by `power` p on both sides turns s into
s^(1 - 4 p): at 1/8 into its root, at 1/4 into 1.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from gradleak.frozen import Frozen

# Longer sides of a matrix are left as they are: a decomposition takes the cube of the side.
_LONGEST_SIDE = 4096

#: What whitens each parameter of one trial: symmetric matrices for its first two sides, or a factor in the first place.
Matrices = Mapping[str, Mapping[str, Tensor]]


class Whitening(Frozen):
    """How far layers are whitened: by (G G^T)^-power from the left and (G^T G)^-power from the right.

    G is the layer's part of the shared update, so no knowledge is needed (level 0). `damping` is added to the
    eigenvalues of both products, in units of the largest. The form is that of an optimiser's preconditioner (Gupta et
    al., "Shampoo", ICML 2018), whose exponent 1/4 is that of a product summed over steps.
    """

    power: float = Field(0.125, gt=0, le=0.25)
    damping: float = Field(1e-3, gt=0, le=1)


@dataclass(frozen=True)
class Whitener:
    """What whitens updates of T trials: by parameter symmetric matrices, `left` (T, out, out) and `right` (T, in, in).

    A weight (out, in, k, k) has its kernel's cells as further samples on either side, so that both are maps of channels
    alone. A side may have no matrix (`_sides`). A vector has a `factor` (T,) instead, and so has the weight of a
    convolution in groups: rows of different groups multiply different inputs.
    """

    matrices: Matrices

    @classmethod
    def of(cls, update: Mapping[str, Tensor], spec: Whitening, grouped: Collection[str] = ()) -> "Whitener":
        """What whitens the updates (T, ...) of T trials; `grouped` names weights of convolutions in groups."""
        return cls({name: _sides(value, spec, name in grouped) for name, value in update.items()})

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whiten parameters (T, ...) by name."""
        return {name: _whitened(value, self.matrices[name]) for name, value in values.items()}

    def of_trial(self, trial: int) -> Matrices:
        """What whitens one trial's parameters."""
        return {name: {side: value[trial] for side, value in own.items()} for name, own in self.matrices.items()}

    def factors(self, names: Iterable[str], like: Tensor) -> Tensor:
        """The factors of parameters, 1 where a parameter has none, in the precision of `like` (T, L)."""
        ones = like.new_ones(len(like))
        return torch.stack([self.matrices[name].get("factor", ones).to(like) for name in names], dim=1)


def grouped_weights(model: nn.Module) -> set[str]:
    """Names of the weights of a model's convolutions in groups."""
    return {f"{path}.weight" for path, layer in model.named_modules() if getattr(layer, "groups", 1) > 1}


def whitened(values: Mapping[str, Tensor], matrices: Matrices) -> dict[str, Tensor]:
    """Whiten one trial's parameters by name; without matrices they are as they were. Differentiable."""
    if not matrices:
        return dict(values)
    found = {}
    for name, value in values.items():
        sides = {side: own[None] for side, own in matrices[name].items()}
        found[name] = _whitened(value[None], sides)[0]
    return found


def _sides(value: Tensor, spec: Whitening, grouped: bool) -> dict[str, Tensor]:
    """What whitens a parameter (T, ...).

    A side that is longer than the other with the kernel's cells has a product of lower rank: the other takes its power.
    """
    if value.dim() > 2 and not grouped:
        rows = {side: value.movedim(dim, 1).flatten(2) for side, dim in (("left", 1), ("right", 2))}
        used = {side: own for side, own in rows.items() if own.shape[1] <= min(own.shape[2], _LONGEST_SIDE)}
        if used:
            power = spec.power * len(rows) / len(used)
            return {side: _root(own, power, spec.damping) for side, own in used.items()}
    # The only singular value of a vector is its norm.
    norm = value.reshape(len(value), -1).double().norm(dim=1)
    return {"factor": torch.where(norm > 0, norm ** (-4 * spec.power), 1).to(value.dtype)}


def _root(rows: Tensor, power: float, damping: float) -> Tensor:
    """(R R^T + damping)^-power of rows R (T, n, m): (T, n, n). The identity where all are zero."""
    found = []
    for one in rows.double():
        values, vectors = torch.linalg.eigh(one @ one.mT)
        largest = values[-1].clamp_min(0)
        scaled = torch.where(largest > 0, values.clamp_min(0) + damping * largest, 1)
        found.append((vectors * scaled**-power) @ vectors.mT)
    return torch.stack(found).to(rows.dtype)


def _whitened(value: Tensor, sides: Mapping[str, Tensor]) -> Tensor:
    """A parameter (T, ...) with its sides' matrices applied."""
    if "factor" in sides:
        return value * sides["factor"].view(-1, *(1,) * (value.dim() - 1))
    for side, dim in (("left", 1), ("right", 2)):
        if side in sides:
            moved = value.movedim(dim, 1)
            value = (sides[side] @ moved.flatten(2)).view(moved.shape).movedim(1, dim)
    return value
