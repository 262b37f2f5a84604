"""Convolutions of images laid out as in `layout`, in the precision of the run, twice differentiable in the images.

Weights that stay constant (the model's, and the targets) are packed once for the CPU's kernels (oneDNN): their packing
costs more than many a small convolution. A convolution's transpose is, for stride 1, the convolution with the mirrored
weight, and is packed likewise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gradleak.engine.device import precision
from gradleak.engine.linear import Map, PiecewiseLinear

_backward = torch.ops.aten.convolution_backward.default
_FEW_CHANNELS, _BLOCK = 8, 4
_LITTLE = 100_000  # a weight of so many numbers or less is turned around in no time


class ConvArgs(NamedTuple):
    """Stride, padding, dilation and groups of a convolution."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class Operator(Protocol):
    """A convolution with constant weights, as an operator on its input."""

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve (T * N, C, H, W)."""
        ...

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """The gradient with respect to an input of `shape`, from backward signals d."""
        ...


def convolution(x: Tensor, operator: Operator, bias: Tensor | None) -> Tensor:
    """An operator on x (T * N, C, H, W) plus a constant bias, differentiable twice with respect to x alone.

    PyTorch's own double backward of a convolution always computes the weight's gradient too. For the small feature
    maps of deep layers that unwanted term costs more than all the rest together.
    """
    shape = x.shape

    def at(x: Tensor) -> tuple[Tensor, Map, Map]:
        return operator.forward(x, bias), operator.forward, lambda d: operator.transpose(d, shape)

    found: Tensor = PiecewiseLinear.apply(x, at)
    return found


@dataclass
class Constant:
    """The operator of one weight (out, in / groups, k, k) for all images, packed where that is faster."""

    weight: Tensor
    args: ConvArgs
    _packed: dict[tuple[str, torch.Size], tuple[Tensor, ConvArgs]] = field(default_factory=dict)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operator`."""
        if not packs(x):
            return convolved(x, self.weight, self.args, bias)
        packed, args = self._pack("plain", x, lambda: (self.weight, self.args))
        return _run(x, packed, bias, args)

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        mirror = _mirrored_args(self.args, self.weight.shape)
        if mirror is None or not packs(d):
            return input_gradient(d, self.weight, shape, self.args)
        if in_blocks(self.weight, shape, self.args):
            packed, args = self._pack("blocks", d, lambda: blocked(self.weight, self.args))
            return F.pixel_shuffle(_run(d, packed, None, args), _BLOCK)
        packed, args = self._pack("mirrored", d, lambda: (mirrored(self.weight, self.args.groups), mirror))
        return _run(d, packed, None, args)

    def _pack(self, kind: str, x: Tensor, make: Callable[[], tuple[Tensor, ConvArgs]]) -> tuple[Tensor, ConvArgs]:
        """A weight packed for inputs shaped as x, made once."""
        if (kind, x.shape) not in self._packed:
            weight, args = make()
            packed = _reorder(operand(weight).contiguous().to_mkldnn(), *_order(args), x.shape)
            self._packed[kind, x.shape] = packed, args
        return self._packed[kind, x.shape]


def packs(x: Tensor) -> bool:
    """Whether a constant weight is packed for a convolution of x."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _reorder(weight: Tensor, padding: Any, stride: Any, dilation: Any, groups: int, shape: torch.Size) -> Tensor:
    return torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]
        weight, padding, stride, dilation, groups, shape
    )


def _run(x: Tensor, packed: Tensor, bias: Tensor | None, args: ConvArgs) -> Tensor:
    low = operand(x)
    bias = None if bias is None else bias.to(low.dtype)
    return torch.ops.mkldnn._convolution_pointwise.default(low, packed, bias, *_order(args), "none", [], "").to(x.dtype)


def operand(x: Tensor) -> Tensor:
    """An operand of a convolution in the precision of the run; what has it already stays."""
    return x.to(torch.bfloat16) if precision() == "bf16" and x.dtype == torch.float32 else x


def _order(args: ConvArgs) -> tuple[Any, Any, Any, int]:
    return args.padding, args.stride, args.dilation, args.groups


def _mirrored_args(args: ConvArgs, shape: torch.Size) -> ConvArgs | None:
    """The transpose as a convolution with the mirrored weight; None where it is none."""
    padding = tuple(d * (k - 1) - p for d, k, p in zip(args.dilation, shape[2:], args.padding, strict=True))
    if any(s != 1 for s in args.stride) or min(padding) < 0:
        return None
    return args._replace(padding=padding)


def mirrored(weight: Tensor, groups: int) -> Tensor:
    """A weight (out, in / groups, k, k) turned around: (in, out / groups, k, k)."""
    grouped = weight.unflatten(0, (groups, -1)).transpose(1, 2).flip(3, 4)
    return grouped.reshape(-1, *grouped.shape[2:])


def convolved(x: Tensor, weight: Tensor, args: ConvArgs, bias: Tensor | None = None) -> Tensor:
    """Convolve x (B, C, H, W) with a weight (out, in / groups, k, k)."""
    low, weight = operand(x), operand(weight)
    bias = None if bias is None else bias.to(low.dtype)
    if x.device.type == "cpu" and x.dtype != torch.float64 and weight.shape[-1] > 1:
        # PyTorch's own choice falls back to a slower way for small inputs.
        stride, padding, dilation, groups = args
        return torch.mkldnn_convolution(low, weight, bias, padding, stride, dilation, groups).to(x.dtype)
    return F.conv2d(low, weight, bias, *args).to(x.dtype)


def input_gradient(d: Tensor, weight: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    """The gradient of a convolution with respect to its input of `shape`, from backward signals d."""
    if d.device.type == "cpu" and in_blocks(weight, shape, args):
        blocks, own = blocked(weight, args)
        return F.pixel_shuffle(convolved(d, blocks, own), _BLOCK)
    mirror = _mirrored_args(args, weight.shape)
    if mirror is not None and d.device.type == "cpu" and weight.numel() < _LITTLE:
        return convolved(d, mirrored(weight, args.groups), mirror)
    low, weight = operand(d), operand(weight)
    # Only its shape is read; its layout decides that of the gradient.
    x = torch.empty(shape, dtype=low.dtype, device=low.device, memory_format=torch.channels_last)
    stride, padding, dilation, groups = args
    mask = (True, False, False)
    return _backward(low, x, weight, None, stride, padding, dilation, False, (0, 0), groups, mask)[0].to(d.dtype)


def in_blocks(weight: Tensor, shape: torch.Size, args: ConvArgs) -> bool:
    """Whether an input gradient of `shape` is computed by blocks of pixels: of images, whose channels are few."""
    few = weight.shape[1] < _FEW_CHANNELS and max(args.dilation) == 1 and shape[2] % _BLOCK == shape[3] % _BLOCK == 0
    return few and _mirrored_args(args, weight.shape) is not None


def blocked(weight: Tensor, args: ConvArgs) -> tuple[Tensor, ConvArgs]:
    """The transpose of a convolution as one with a channel for each pixel of a block, and strides of a block.

    Kernels compute 16 channels at once, however few there are. Of 3 channels, blocks of 4x4 pixels make 48.
    """
    mirror, own = mirrored(weight, args.groups), _mirrored_args(args, weight.shape)
    assert own is not None
    channels, fan, height, width = mirror.shape
    blocks = mirror.new_zeros(channels, _BLOCK, _BLOCK, fan, height + _BLOCK - 1, width + _BLOCK - 1)
    # For each pixel of a block, the weight from that pixel on.
    c, down, across, f, h, w = blocks.stride()
    shifted = (channels, _BLOCK, _BLOCK, fan, height, width), (c, down + h, across + w, f, h, w)
    blocks.as_strided(*shifted).copy_(mirror[:, None, None])
    return blocks.flatten(0, 2), own._replace(stride=(_BLOCK, _BLOCK))


@cache
def _blank(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A weight of which only the shape is read."""
    return torch.empty(1, dtype=dtype, device=device).expand(shape)


def weight_gradient(d: Tensor, x: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    """The gradient of a convolution with respect to its weight of `shape`, from backward signals d and inputs x."""
    low, x = operand(d), operand(x)
    weight = _blank(shape, low.dtype, low.device)
    stride, padding, dilation, groups = args
    mask = (False, True, False)
    return _backward(low, x, weight, None, stride, padding, dilation, False, (0, 0), groups, mask)[1].to(d.dtype)
