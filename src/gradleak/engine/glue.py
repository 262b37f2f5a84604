"""Operations between layers in a form that is cheap to differentiate twice.

PyTorch's double backward of ReLU and of concatenation fills tensors with zeros and adds them. Linear pieces need none
of that: what follows computes the same values with a third of the operations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Masked(torch.autograd.Function):
    """d where y > 0, else 0: linear in d."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return torch.ops.aten.threshold_backward(d, y, 0)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(cotangent, y, 0), None


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp_min(0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return _Masked.apply(d, y.detach())


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


@dataclass(frozen=True)
class _Pooling:
    """What a max pooling chose of x (B, C, H, W): `indices` (B, C, h, w) count H * W. Linear both ways."""

    x: Tensor
    geometry: tuple[Any, ...]
    indices: Tensor

    def choose(self, x: Tensor) -> Tensor:
        """The chosen pixels of another x."""
        rows, places = (value.permute(0, 2, 3, 1).flatten(1, 2) for value in (x, self.indices))
        return rows.gather(1, places).view(len(x), *self.indices.shape[2:], -1).permute(0, 3, 1, 2)

    def scatter(self, d: Tensor) -> Tensor:
        """The transpose of `choose`; of x it reads the shape only."""
        return torch.ops.aten.max_pool2d_with_indices_backward(d, self.x, *self.geometry, self.indices)


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pooling: _Pooling) -> Tensor:
        ctx.pooling = pooling
        return pooling.choose(x)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        return _Scattered.apply(d, ctx.pooling), None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, pooling: _Pooling) -> Tensor:
        ctx.pooling = pooling
        return pooling.scatter(d)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        return _Chosen.apply(cotangent, ctx.pooling), None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *geometry: Any) -> Tensor:
        y, indices = torch.ops.aten.max_pool2d_with_indices(x, *geometry)
        ctx.pooling = _Pooling(x.detach(), geometry, indices)
        return y

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        return _Scattered.apply(d, ctx.pooling), *[None] * len(ctx.pooling.geometry)


def _relu(x: Tensor, inplace: bool = False) -> Tensor:
    return F.relu(x, inplace=True) if inplace else _Relu.apply(x)


def _cat(tensors: list[Tensor] | tuple[Tensor, ...], dim: int = 0, axis: int | None = None) -> Tensor:
    dim = dim if axis is None else axis
    if not all(isinstance(part, Tensor) and part.requires_grad and part.dim() > 1 for part in tensors):
        return torch.cat(tensors, dim)
    return _Concatenated.apply(dim, *tensors)


def _max_pool(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, **others: Any
) -> Any:
    if x.dim() != 4 or others.get("return_indices"):
        return F.max_pool2d(x, kernel_size, stride, padding, dilation, **others)
    geometry = [_pair(value) for value in (kernel_size, stride or kernel_size, padding, dilation)]
    return _MaxPool.apply(x, *geometry, others.get("ceil_mode", False))


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
