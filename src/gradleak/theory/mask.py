"""Masks that change images and not the gradient: from the null space of Phi's Jacobian, then along Phi's level set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

SMALL = 1e-10
"""Singular values below this share of the greatest count as 0."""

_STEPS, _FRESH, _HALVINGS, _ROUNDING = 9, 3, 3, 3e-15


class InputGradient(Protocol):
    """Phi with its Jacobian: vectors (n,) to vectors (p,) and matrices (p, n)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Phi(x) (p,)."""

    def jacobian(self, x: Tensor) -> Tensor:
        """Phi'(x) (p, n)."""


@dataclass(frozen=True)
class Mask:
    """A mask Delta (n,) for images x, how it was found, and what is left of the gradient's difference.

    rank: of Phi'(x). first_order: |Phi(x + Delta_0) - Phi(x)| / |Phi(x)| of the mask Delta_0 from the null space alone.
    difference: the same of Delta.
    """

    delta: Tensor
    rank: int
    first_order: float
    difference: float


def find_mask(phi: InputGradient, x: Tensor, wish: Tensor, rms: float | None = None) -> Mask:
    """A mask near a wished one (n,) that leaves Phi(x) unchanged as far as possible; rms: its root mean square.

    Delta_0 is the wish projected on the null space of Phi'(x), scaled to rms (None: as it is): Theorem 4.3's proof ends
    here. Where the null space is empty, Delta_0 is the direction that changes Phi least. A null space promises a
    difference of second order only, so that Gauss-Newton steps of fixed length |Delta| then lead to the level set
    {x + Delta: Phi(x + Delta) = Phi(x)}, if there is any within reach.
    """
    jacobian = phi.jacobian(x)
    _, values, directions = torch.linalg.svd(jacobian, full_matrices=False)
    rank = int((values > SMALL * values[0]).sum())
    rows = directions[:rank]
    start = wish - rows.T @ (rows @ wish) if rank < len(x) else torch.copysign(directions[-1], directions[-1] @ wish)
    if rms is not None:
        start = start * (rms * len(x) ** 0.5 / start.norm())
    difference = relative_difference(phi, x)
    delta = _correct(phi, x, start, difference)
    return Mask(delta, rank, difference(start), difference(delta))


def relative_difference(phi: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[Tensor], float]:
    """The function delta -> |Phi(x + delta) - Phi(x)| / |Phi(x)|."""
    reference = phi(x)
    return lambda delta: float((phi(x + delta) - reference).norm() / reference.norm())


def _correct(phi: InputGradient, x: Tensor, start: Tensor, difference: Callable[[Tensor], float]) -> Tensor:
    """Minimise the difference over masks as long as `start`, as far as a few steps lead."""
    reference, length = phi(x), start.norm()
    delta, left = start, difference(start)
    inverse = torch.empty(0)
    for step in range(_STEPS):
        if left < _ROUNDING:
            break
        if step % _FRESH == 0:  # In between, the Jacobian of an earlier step serves: it costs most.
            tangent = torch.cat([phi.jacobian(x + delta) / reference.norm(), (delta / length**2).unsqueeze(0)])
            inverse = torch.linalg.pinv(tangent, rtol=SMALL)
        residual = torch.cat([(phi(x + delta) - reference) / reference.norm(), torch.zeros(1, dtype=x.dtype)])
        found = _shorten(delta, inverse @ residual, length, left, difference)
        if found is None:
            if step % _FRESH == 0:
                break
            continue
        delta, left = found
    return delta


def _shorten(
    delta: Tensor, move: Tensor, length: Tensor, left: float, difference: Callable[[Tensor], float]
) -> tuple[Tensor, float] | None:
    """The mask after a move, or half of it and so on, scaled to a length. None where none has a smaller difference."""
    for halving in range(_HALVINGS):
        candidate = delta - move / 2**halving
        candidate = candidate * (length / candidate.norm())
        value = difference(candidate)
        if value < left:
            return candidate, value
    return None
