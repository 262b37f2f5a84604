"""Operations between layers in a form that is cheap to differentiate twice.

PyTorch's double backward of ReLU and of concatenation fills tensors with zeros and adds them. Linear pieces need none
of that: what follows computes the same values with a third of the operations.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradleak.engine.linear import Map, PiecewiseLinear


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, sizes: list[int], dim: int) -> tuple[Tensor, ...]:
        ctx.dim = dim
        return d.split(sizes, dim)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        return torch.cat(cotangents, ctx.dim), None, None


class _Concatenated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dim: int, *parts: Tensor) -> Tensor:
        ctx.dim, ctx.sizes = dim, [part.shape[dim] for part in parts]
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        return None, *_Split.apply(d, ctx.sizes, ctx.dim)


def _relu(x: Tensor, inplace: bool = False) -> Tensor:
    return F.relu(x, inplace=True) if inplace else PiecewiseLinear.apply(x, _relu_at)


def _relu_at(x: Tensor) -> tuple[Tensor, Map, Map]:
    y = x.clamp_min(0)
    kept = y.detach()  # the output itself would hold what holds it

    def mask(d: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(d, kept, 0)

    return y, mask, mask


def _cat(tensors: list[Tensor] | tuple[Tensor, ...], dim: int = 0, axis: int | None = None) -> Tensor:
    dim = dim if axis is None else axis
    if not all(isinstance(part, Tensor) and part.requires_grad and part.dim() > 1 for part in tensors):
        return torch.cat(tensors, dim)
    return _Concatenated.apply(dim, *tensors)


def _max_pool(x: Tensor, kernel_size: Any, **others: Any) -> Tensor:
    if x.dim() != 4:
        return F.max_pool2d(x, kernel_size, **others)
    sizes = kernel_size, others["stride"] or kernel_size, others["padding"], others["dilation"]
    geometry = *(_pair(size) for size in sizes), others["ceil_mode"]

    def at(x: Tensor) -> tuple[Tensor, Map, Map]:
        y, indices = torch.ops.aten.max_pool2d_with_indices(x, *geometry)
        like = x.detach()  # of which the shape is read

        def choose(x: Tensor) -> Tensor:
            rows, places = (value.permute(0, 2, 3, 1).flatten(1, 2) for value in (x, indices))
            return rows.gather(1, places).view(len(x), *indices.shape[2:], -1).permute(0, 3, 1, 2)

        def scatter(d: Tensor) -> Tensor:
            return torch.ops.aten.max_pool2d_with_indices_backward(d, like, *geometry, indices)

        return y, choose, scatter

    found: Tensor = PiecewiseLinear.apply(x, at)
    return found


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


_CHEAP: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu), _relu),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _cat),
    F.max_pool2d: _max_pool,
}


class CheapGlue(TorchFunctionMode):
    """Within this context, operations between layers are those of this module."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute what `func` does."""
        return _CHEAP.get(func, func)(*args, **(kwargs or {}))
