"""What a local step is: SGD with or without momentum, or Adam, as pure functions that autograd can differentiate.

It is said here only. The victim client, the adversary that simulates it (case `wst`) and the clients of a federated
training go by it. A step makes W - eta d of the parameters W. Its direction d is computed here. For plain SGD d is the
gradient.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8  # PyTorch's defaults


class Settings(Protocol):
    """What a client's settings, or a server's knowledge of them, say of its optimizer."""

    @property
    def optimizer(self) -> Literal["sgd", "adam"]:
        """Which one it is."""
        ...

    @property
    def momentum(self) -> float:
        """That of SGD, from 0 to below 1."""
        ...

    @property
    def weight_decay(self) -> float:
        """L2, from 0: so many times the parameter is added to its gradient."""
        ...


class Memory(NamedTuple):
    """What steps leave to the next one of a parameter, each of its shape. Plain SGD leaves nothing.

    mean: the velocity of SGD with momentum, or Adam's moving mean of gradients. square: Adam's moving mean of their
    squares. steps: how many there were.
    """

    mean: Tensor
    square: Tensor | None = None
    steps: int = 1


def directions(
    settings: Settings, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], memory: Mapping[str, Memory]
) -> tuple[dict[str, Tensor], dict[str, Memory]]:
    """The directions d of a step by parameter name, of the gradients' shapes, and the memory after it.

    `memory` is what the step before returned, empty before the first. A parameter without a gradient has no direction
    and keeps its memory. As `torch.optim.SGD` (no dampening) and `torch.optim.Adam` (betas 0.9 and 0.999, eps 1e-8)
    with their `weight_decay`, which is added to the gradient. Differentiable in parameters, gradients and memory. The
    derivative is finite where a gradient is zero.
    """
    found, kept = {}, dict(memory)
    for name, gradient in gradients.items():
        if settings.weight_decay:
            gradient = gradient + settings.weight_decay * parameters[name]
        if settings.optimizer == "adam":
            found[name], kept[name] = _adam(gradient, memory.get(name))
        elif settings.momentum:
            before = memory.get(name)
            found[name] = gradient if before is None else settings.momentum * before.mean + gradient
            kept[name] = Memory(found[name])
        else:
            found[name] = gradient
    return found, kept


def _adam(gradient: Tensor, before: Memory | None) -> tuple[Tensor, Memory]:
    mean, square, steps = (1 - _MEAN_DECAY) * gradient, (1 - _SQUARE_DECAY) * gradient.square(), 1
    if before is not None:
        assert before.square is not None
        mean, square = _MEAN_DECAY * before.mean + mean, _SQUARE_DECAY * before.square + square
        steps = before.steps + 1
    # A root has no derivative at zero. The least number has one, and its root is nothing beside epsilon.
    least = torch.finfo(gradient.dtype).tiny
    root = (square / (1 - _SQUARE_DECAY**steps)).clamp_min(least).sqrt()
    return mean / (1 - _MEAN_DECAY**steps) / (root + _EPSILON), Memory(mean, square, steps)
