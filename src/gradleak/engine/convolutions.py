"""Convolutions with constant weights and with one weight per trial, each by the way that is fastest for its shape.

Batches are trial-major, (T * N, C, H, W), with channels last in memory. What differs between trials is convolved in
one of two ways: `loop`, trial after trial, or `groups`, all trials as groups of channels of one convolution.

Weights that stay constant (the model's, and the targets) are packed once for the CPU's kernels (oneDNN): its packing
costs more than many a small convolution. A convolution's transpose is, for stride 1, the convolution with the mirrored
weight, and is packed likewise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_backward = torch.ops.aten.convolution_backward.default
Way = Literal["loop", "groups", "product"]


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
            return F.conv2d(x, self.weight, bias, *self.args)
        packed, args = self._pack("plain", x, lambda: (self.weight, self.args))
        return _run(x, packed, bias, args)

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        if not packs(d) or (args := _mirrored_args(self.args, self.weight.shape)) is None:
            return input_gradient(d, self.weight, shape, self.args)
        if in_blocks(self.weight, shape, self.args):
            packed, args = self._pack("blocks", d, lambda: blocked(self.weight, self.args))
            return F.pixel_shuffle(_run(d, packed, None, args), _BLOCK)
        packed, args = self._pack("mirrored", d, lambda: (mirrored(self.weight, self.args.groups), args))
        return _run(d, packed, None, args)

    def _pack(self, kind: str, x: Tensor, make: Callable[[], tuple[Tensor, ConvArgs]]) -> tuple[Tensor, ConvArgs]:
        """A weight packed for inputs shaped as x, made once."""
        if (kind, x.shape) not in self._packed:
            weight, args = make()
            packed = _reorder(weight.contiguous().to_mkldnn(), *_order(args), x.shape)
            self._packed[kind, x.shape] = packed, args
        return self._packed[kind, x.shape]


def packs(x: Tensor) -> bool:
    """Whether a constant weight is packed for a convolution of x."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _reorder(weight: Tensor, padding: Any, stride: Any, dilation: Any, groups: int, shape: torch.Size) -> Tensor:
    return torch._C._nn.mkldnn_reorder_conv2d_weight(weight, padding, stride, dilation, groups, shape)


def _run(x: Tensor, packed: Tensor, bias: Tensor | None, args: ConvArgs) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise.default(x, packed, bias, *_order(args), "none", [], "")


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

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operator`; `bias` is (T, out)."""
        y = output_shape(x.shape, self._weights.shape[1:], self._args)
        if way_of(y, self._weights.shape[1:], self._args, self._trials) != "loop":
            merged = None if bias is None else bias.flatten()
            return apart(self._of("groups")[0].forward(merge(x, self._trials), merged), self._trials)
        biases = [None] * self._trials if bias is None else list(bias.unbind())
        parts = zip(self._of("loop"), split(x, self._trials), biases, strict=True)
        return _joined([part.forward(own, b) for part, own, b in parts])

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        if way_of(d.shape, self._weights.shape[1:], self._args, self._trials) != "loop":
            merged = merged_shape(shape, self._trials)
            return apart(self._of("groups")[0].transpose(merge(d, self._trials), merged), self._trials)
        one = torch.Size((shape[0] // self._trials, *shape[1:]))
        parts = zip(self._of("loop"), split(d, self._trials), strict=True)
        return _joined([part.transpose(own, one) for part, own in parts])


def output_shape(x: torch.Size, weight: torch.Size, args: ConvArgs) -> torch.Size:
    """The shape of a convolution's output."""
    sides = zip(x[2:], weight[2:], args.stride, args.padding, args.dilation, strict=True)
    return torch.Size((x[0], weight[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)))


class OneEach:
    """A convolution with one weight per trial, (T, out, in / groups, k, k), at hand: its products with x and d.

    `x` are its inputs (T * N, C, H, W), `d` backward signals (T * N, out, H', W'); `shape` is that of one weight.
    """

    def __init__(self, x: Tensor, d: Tensor, shape: torch.Size, args: ConvArgs, trials: int) -> None:
        self._inputs = x.shape
        self._shape, self._args, self._trials = shape, args, trials
        self._way = way_of(d.shape, shape, args, trials)
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


def _convolved(x: Tensor, weight: Tensor, args: ConvArgs) -> Tensor:
    if x.device.type == "cpu" and x.dtype == torch.float32 and weight.shape[-1] > 1:
        # PyTorch's own choice falls back to a slower way for small inputs.
        return torch.mkldnn_convolution(x, weight, None, args.padding, args.stride, args.dilation, args.groups)
    return F.conv2d(x, weight, None, *args)


def input_gradient_per_trial(d: Tensor, weights: Tensor, shape: torch.Size, args: ConvArgs, way: Way) -> Tensor:
    """Transpose of `conv_per_trial`: backward signals (T * N, out, H', W') to (T * N, C, H, W) = `shape`."""
    trials = len(weights)
    if way == "groups":
        args = args._replace(groups=trials * args.groups)
        merged = merged_shape(shape, trials)
        return apart(input_gradient(merge(d, trials), weights.flatten(0, 1), merged, args), trials)
    one = torch.Size((shape[0] // trials, *shape[1:]))
    parts = zip(split(d, trials), weights.unbind(), strict=True)
    return _joined([input_gradient(own, weight, one, args) for own, weight in parts])


def weight_gradient_per_trial(d: Tensor, x: Tensor, shape: torch.Size, args: ConvArgs, trials: int, way: Way) -> Tensor:
    """Gradients of the weight of `shape` (out, in / groups, k, k), one per trial: (T, out, in / groups, k, k)."""
    if way == "groups":
        args = args._replace(groups=trials * args.groups)
        whole = torch.Size((trials * shape[0], *shape[1:]))
        return _weight_gradient(merge(d, trials), merge(x, trials), whole, args).view(trials, *shape)
    parts = zip(split(d, trials), split(x, trials), strict=True)
    found = [_weight_gradient(own_d, own_x, shape, args) for own_d, own_x in parts]
    return found[0][None] if trials == 1 else torch.stack(found)


def input_gradient(d: Tensor, weight: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    """The gradient of a convolution with respect to its input of `shape`, from backward signals d."""
    if d.device.type == "cpu" and in_blocks(weight, shape, args):
        blocks, own = blocked(weight, args)
        return F.pixel_shuffle(_convolved(d, blocks, own), _BLOCK)
    x = d.new_empty(1).expand(shape)  # only its shape is read
    stride, padding, dilation, groups = args
    return _backward(d, x, weight, None, stride, padding, dilation, False, (0, 0), groups, (True, False, False))[0]


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


_FEW_CHANNELS, _BLOCK = 8, 4


def _weight_gradient(d: Tensor, x: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    weight = d.new_empty(1).expand(shape)  # only its shape is read
    stride, padding, dilation, groups = args
    return _backward(d, x, weight, None, stride, padding, dilation, False, (0, 0), groups, (False, True, False))[1]


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


#: Trial after trial: up to so many trials, and convolutions of so many operations per trial or more.
_LOOP_TRIALS, _LOOP_OPERATIONS = 2, 3e7


def way_of(y: torch.Size, weight: torch.Size, args: ConvArgs, trials: int) -> Way:
    """How a convolution with one weight (out, in, k, k) per trial is computed; `y` is the shape of its output."""
    operations = 2 * y.numel() // trials * weight[1:].numel()
    if trials <= _LOOP_TRIALS or operations >= _LOOP_OPERATIONS:
        return "loop"
    plain = weight[2:].numel() == 1 and args == ConvArgs((1, 1), (0, 0), args.dilation, 1)
    return "product" if plain else "groups"
