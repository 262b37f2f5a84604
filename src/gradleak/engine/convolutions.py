"""Convolutions with constant weights and with one weight per trial, each by the way that is fastest for its shape.

Batches are trial-major, (T * N, C, H, W), with channels last in memory. What differs between trials is convolved in
one of three ways: `loop`, trial after trial; `product`, of matrices, where the kernel is 1x1; `groups`, all trials as
groups of channels of one convolution. `resources/convolutions.yaml` says which, by device and shape.

Weights that stay constant (the model's, and the targets) are packed once for the CPU's kernels (oneDNN): its packing
costs more than many a small convolution. A convolution's transpose is, for stride 1, the convolution with the mirrored
weight, and is packed likewise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from gradleak.engine.device import precision

_backward = torch.ops.aten.convolution_backward.default
_FEW_CHANNELS, _BLOCK = 8, 4
_LITTLE = 100_000  # a weight of so many numbers or less is turned around in no time
Way = Literal["loop", "product", "groups"]


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


class _Transpose(torch.autograd.Function):
    """The gradient of `Convolution` with respect to its input: linear in the backward signal."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, operator: Operator, shape: torch.Size) -> Tensor:
        ctx.operator = operator
        return operator.transpose(d, shape)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        return ctx.operator.forward(cotangent), None, None


class Convolution(torch.autograd.Function):
    """An operator and a constant bias, differentiable twice with respect to the input.

    PyTorch's own double backward of a convolution always computes the weight's gradient too. For the small feature
    maps of deep layers that unwanted term costs more than all the rest together.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator, bias: Tensor | None) -> Tensor:
        """The convolution of x (T * N, C, H, W) plus the bias."""
        ctx.operator, ctx.shape = operator, x.shape
        return operator.forward(x, bias)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        """The gradient with respect to x alone."""
        return _Transpose.apply(d, ctx.operator, ctx.shape), None, None


@dataclass
class Constant:
    """The operator of one weight (out, in / groups, k, k) for all images, packed where that is faster."""

    weight: Tensor
    args: ConvArgs
    _packed: dict[tuple[str, torch.Size], tuple[Tensor, ConvArgs]] = field(default_factory=dict)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operator`."""
        if not packs(x):
            return _convolved(x, self.weight, self.args, bias)
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
            packed = _reorder(_low(weight).contiguous().to_mkldnn(), *_order(args), x.shape)
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
    low = _low(x)
    bias = None if bias is None else bias.to(low.dtype)
    return torch.ops.mkldnn._convolution_pointwise.default(low, packed, bias, *_order(args), "none", [], "").to(x.dtype)


def _low(x: Tensor) -> Tensor:
    """An operand of a convolution in the precision of the run."""
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


class PerTrial:
    """The operator of constant weights (T, out, in / groups, k, k), one per trial; biases (T, out)."""

    def __init__(self, weights: Tensor, args: ConvArgs) -> None:
        self._weights, self._args, self._trials = weights, args, len(weights)
        self._parts: dict[Way, list[Constant]] = {}

    def _of(self, way: Way) -> list[Constant]:
        if way not in self._parts:
            if way == "groups":
                args = self._args._replace(groups=self._trials * self._args.groups)
                self._parts[way] = [Constant(self._weights.flatten(0, 1), args)]
            else:
                self._parts[way] = [Constant(weight, self._args) for weight in self._weights]
        return self._parts[way]

    def _grouped(self, x: Tensor, positions: int) -> bool:
        shape = self._weights.shape[1:]
        return way_of(x, positions, shape, self._args, self._trials) != "loop"

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operator`; `bias` is (T, out)."""
        if self._grouped(x, _positions(x.shape, self._weights.shape, self._args)):
            merged = None if bias is None else bias.flatten()
            return apart(self._of("groups")[0].forward(merge(x, self._trials), merged), self._trials)
        biases = [None] * self._trials if bias is None else list(bias.unbind())
        parts = zip(self._of("loop"), split(x, self._trials), biases, strict=True)
        return _joined([part.forward(own, b) for part, own, b in parts])

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        if self._grouped(d, d.shape[2:].numel()):
            merged = merged_shape(shape, self._trials)
            return apart(self._of("groups")[0].transpose(merge(d, self._trials), merged), self._trials)
        one = torch.Size((shape[0] // self._trials, *shape[1:]))
        parts = zip(self._of("loop"), split(d, self._trials), strict=True)
        return _joined([part.transpose(own, one) for part, own in parts])


def _positions(x: torch.Size, weight: torch.Size, args: ConvArgs) -> int:
    """How many pixels a convolution's output has."""
    sides = zip(x[2:], weight[-2:], args.stride, args.padding, args.dilation, strict=True)
    return math.prod((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)


class OneEach:
    """Inputs x (T * N, C, H, W) and backward signals d (T * N, out, H', W') of a convolution with one weight per trial.

    `shape` is that of one weight, (out, in / groups, k, k).
    """

    def __init__(self, x: Tensor, d: Tensor, shape: torch.Size, args: ConvArgs, trials: int) -> None:
        self._inputs = x.shape
        self._shape, self._args, self._trials = shape, args, trials
        self._way = way_of(d, d.shape[2:].numel(), shape, args, trials)
        if self._way == "product":
            self._x, self._d = rows(x, trials), rows(d, trials)
        elif self._way == "groups":
            self._args = args._replace(groups=trials * args.groups)
            self._x, self._d = merge(x, trials), merge(d, trials)
        else:
            self._x, self._d = x, d

    def gradient(self) -> Tensor:
        """The gradients of the weights as (T, P), channels last."""
        if self._way == "product":
            return torch.bmm(self._d.mT, self._x).flatten(1)
        if self._way == "groups":
            whole = torch.Size((self._trials * self._shape[0], *self._shape[1:]))
            return flat(_weight_gradient(self._d, self._x, whole, self._args).unflatten(0, (self._trials, -1)))
        parts = zip(split(self._d, self._trials), split(self._x, self._trials), strict=True)
        found = [_weight_gradient(d, x, self._shape, self._args) for d, x in parts]
        return flat(found[0][None] if len(found) == 1 else torch.stack(found))

    def forward(self, weights: Tensor) -> Tensor:
        """x convolved with weights (T, P) as of `gradient`: (T * N, out, H', W')."""
        if self._way == "product":
            return images(torch.bmm(self._x, weights.view(self._trials, *self._shape[:2]).mT), self._inputs)
        own = unflat(weights, self._shape)
        if self._way == "groups":
            return apart(_convolved(self._x, own.flatten(0, 1), self._args), self._trials)
        parts = zip(split(self._x, self._trials), own.unbind(), strict=True)
        return _joined([_convolved(x, weight, self._args) for x, weight in parts])

    def transpose(self, weights: Tensor) -> Tensor:
        """d convolved with the transpose: (T * N, C, H, W)."""
        if self._way == "product":
            return images(torch.bmm(self._d, weights.view(self._trials, *self._shape[:2])), self._inputs)
        own = unflat(weights, self._shape)
        if self._way == "groups":
            whole = merged_shape(self._inputs, self._trials)
            return apart(input_gradient(self._d, own.flatten(0, 1), whole, self._args), self._trials)
        one = torch.Size((self._inputs[0] // self._trials, *self._inputs[1:]))
        parts = zip(split(self._d, self._trials), own.unbind(), strict=True)
        return _joined([input_gradient(d, weight, one, self._args) for d, weight in parts])


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner products per trial of (T, P): (T,)."""
    if len(left) == 1:
        return torch.dot(left[0], right[0])[None]
    return torch.linalg.vecdot(left, right)


def flat(weights: Tensor) -> Tensor:
    """Weights (T, out, in, k, k) as (T, P), with channels last."""
    return weights.permute(0, 1, 3, 4, 2).reshape(len(weights), -1)


def unflat(weights: Tensor, shape: torch.Size) -> Tensor:
    """Undo `flat`; `shape` is (out, in, k, k)."""
    out, fan, height, width = shape
    return weights.view(-1, out, height, width, fan).permute(0, 1, 4, 2, 3)


def rows(x: Tensor, trials: int) -> Tensor:
    """(T * N, C, H, W), channels last, as (T, N * H * W, C): the positions of a trial as rows, without a copy."""
    return x.permute(0, 2, 3, 1).reshape(trials, -1, x.shape[1])


def images(positions: Tensor, like: torch.Size) -> Tensor:
    """Undo `rows` for images as many and as large as those of a shape."""
    return positions.view(like[0], like[2], like[3], positions.shape[2]).permute(0, 3, 1, 2)


def _convolved(x: Tensor, weight: Tensor, args: ConvArgs, bias: Tensor | None = None) -> Tensor:
    low, weight = _low(x), _low(weight)
    bias = None if bias is None else bias.to(low.dtype)
    if x.device.type == "cpu" and x.dtype == torch.float32 and weight.shape[-1] > 1:
        # PyTorch's own choice falls back to a slower way for small inputs.
        stride, padding, dilation, groups = args
        return torch.mkldnn_convolution(low, weight, bias, padding, stride, dilation, groups).to(x.dtype)
    return F.conv2d(low, weight, bias, *args).to(x.dtype)


def input_gradient(d: Tensor, weight: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    """The gradient of a convolution with respect to its input of `shape`, from backward signals d."""
    if d.device.type == "cpu" and in_blocks(weight, shape, args):
        blocks, own = blocked(weight, args)
        return F.pixel_shuffle(_convolved(d, blocks, own), _BLOCK)
    mirror = _mirrored_args(args, weight.shape)
    if mirror is not None and d.device.type == "cpu" and weight.numel() < _LITTLE:
        return _convolved(d, mirrored(weight, args.groups), mirror)
    low, weight = _low(d), _low(weight)
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
    for down in range(_BLOCK):
        for across in range(_BLOCK):
            blocks[:, down, across, :, down : down + height, across : across + width] = mirror
    return blocks.flatten(0, 2), own._replace(stride=(_BLOCK, _BLOCK))


def _weight_gradient(d: Tensor, x: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    low, x = _low(d), _low(x)
    weight = low.new_empty(1).expand(shape)  # only its shape is read
    stride, padding, dilation, groups = args
    mask = (False, True, False)
    return _backward(low, x, weight, None, stride, padding, dilation, False, (0, 0), groups, mask)[1].to(d.dtype)


def way_of(x: Tensor, positions: int, weight: torch.Size, args: ConvArgs, trials: int) -> Way:
    """How a convolution of x (T * N, ...) with one weight (out, in, k, k) per trial is computed.

    `positions` are the pixels of an output. The first row that holds of the device's table is taken.
    """
    operations = 2 * len(x) // trials * positions * weight.numel()
    plain = weight[2:].numel() == 1 and args[:2] == ((1, 1), (0, 0)) and args.groups == 1
    for row in ways(x.device.type):
        enough = operations >= row.operations and weight.numel() >= row.weights
        if trials <= row.trials and enough and (plain or not row.plain):
            return row.way
    return "groups"


class Row(NamedTuple):
    """A row of the table of ways: up to so many trials, so many operations or weights or more, 1x1 kernels only."""

    way: Way
    trials: float = math.inf
    operations: float = 0
    weights: int = 0
    plain: bool = False


@cache
def ways(device: str) -> list[Row]:
    """The table of ways for a kind of device, `cpu` or `cuda`: `resources/convolutions.yaml`."""
    text = resources.files("gradleak.resources").joinpath("convolutions.yaml").read_text(encoding="utf-8")
    return [Row(**row) for row in yaml.safe_load(text)[device]]


def laid_out(x: Tensor) -> Tensor:
    """Images (T * N, C, H, W) with channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def split(x: Tensor, trials: int) -> list[Tensor]:
    """The images (N, ...) of every trial of (T * N, ...), without a copy."""
    return [x] if trials == 1 else list(x.tensor_split(trials))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def merge(x: Tensor, trials: int) -> Tensor:
    """(T * N, C, H, W) as (N, T * C, H, W), channels last: the trials as groups of channels."""
    if trials == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(0, (trials, -1))
    return rows.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)


def apart(x: Tensor, trials: int) -> Tensor:
    """Undo `merge`."""
    if trials == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(3, (trials, -1))
    return rows.permute(3, 0, 1, 2, 4).contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def merged_shape(shape: torch.Size, trials: int) -> torch.Size:
    """The shape of `merge` of a tensor of `shape`."""
    return torch.Size((shape[0] // trials, trials * shape[1], *shape[2:]))
