"""Maps with constant coefficients, which autograd differentiates twice for the price of once.

A linear map's derivative is its transpose, and that one's the map itself. PyTorch's own double backward of such maps
computes more: gradients of weights, zeros, sums with them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


class Linear(torch.autograd.Function):
    """A linear map `there`, whose transpose is `back`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Map, back: Map) -> Tensor:
        """Map x."""
        ctx.there, ctx.back = there, back
        return there(x)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        """Map d by the transpose."""
        return Linear.apply(d, ctx.back, ctx.there), None, None


class PiecewiseLinear(torch.autograd.Function):
    """A map that is linear, up to a constant, around every x: `at(x)` is its value, its derivative, and the transpose
    of that.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, at: Callable[[Tensor], tuple[Tensor, Map, Map]]) -> Tensor:
        """Map x."""
        value, ctx.there, ctx.back = at(x)
        return value

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        """Map d by the transpose of the derivative."""
        return Linear.apply(d, ctx.back, ctx.there), None
