"""Convolutions with one weight per trial, each by the way that is fastest for its shape.

There are three ways: `loop`, trial after trial; `product`, of matrices, where the kernel is 1x1; `groups`, all trials
as groups of channels of one convolution.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gradleak.engine.convolutions import Constant, ConvArgs, convolved, input_gradient, operand, weight_gradient
from gradleak.engine.layout import apart, flat, images, joined, merge, merged_shape, rows, split, unflat

Way = Literal["loop", "product", "groups"]


class Row(NamedTuple):
    """A row of the table of ways: up to so many trials, so many operations or weights or more, 1x1 kernels only."""

    way: Way
    trials: float = math.inf
    operations: float = 0
    weights: int = 0
    plain: bool = False


#: By kind of device. The first row that holds is taken; where none holds, `groups`. What it rests on for a CPU:
#: `python tests/benchmarks/convolutions.py`. Not measured yet for CUDA.
WAYS: dict[str, list[Row]] = {
    "cpu": [
        Row("loop", trials=1),
        Row("product", plain=True),
        Row("loop", operations=3e7),
        Row("loop", weights=100_000),
    ],
    "cuda": [Row("product", plain=True)],
}


def way_of(x: Tensor, positions: int, weight: torch.Size, args: ConvArgs, trials: int) -> Way:
    """How a convolution of x (T * N, ...) with one weight (out, in, k, k) per trial is computed.

    `positions` are the pixels of an output. The first row that holds of the device's table is taken.
    """
    operations = 2 * len(x) // trials * positions * weight.numel()
    plain = weight[2:].numel() == 1 and args[:2] == ((1, 1), (0, 0)) and args.groups == 1
    for row in WAYS[x.device.type]:
        enough = operations >= row.operations and weight.numel() >= row.weights
        if trials <= row.trials and enough and (plain or not row.plain):
            return row.way
    return "groups"


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
        return joined([part.forward(own, b) for part, own, b in parts])

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        if self._grouped(d, d.shape[2:].numel()):
            merged = merged_shape(shape, self._trials)
            return apart(self._of("groups")[0].transpose(merge(d, self._trials), merged), self._trials)
        one = torch.Size((shape[0] // self._trials, *shape[1:]))
        parts = zip(self._of("loop"), split(d, self._trials), strict=True)
        return joined([part.transpose(own, one) for part, own in parts])


class OneEach:
    """Inputs x (T * N, C, H, W) and backward signals d (T * N, out, H', W') of a convolution with one weight per trial.

    `shape` is that of one weight, (out, in / groups, k, k).
    """

    def __init__(self, x: Tensor, d: Tensor, shape: torch.Size, args: ConvArgs, trials: int) -> None:
        self._inputs, self._dtype = x.shape, x.dtype
        self._shape, self._args, self._trials = shape, args, trials
        self._way = way_of(d, d.shape[2:].numel(), shape, args, trials)
        if self._way == "product":
            self._x, self._d = rows(x, trials), rows(d, trials)
        elif self._way == "groups":
            self._args = args._replace(groups=trials * args.groups)
            self._x, self._d = merge(operand(x), trials), merge(operand(d), trials)
        else:
            self._x, self._d = operand(x), operand(d)

    def gradient(self) -> Tensor:
        """The gradients of the weights as (T, P), channels last."""
        if self._way == "product":
            return torch.bmm(self._d.mT, self._x).flatten(1)
        if self._way == "groups":
            whole = torch.Size((self._trials * self._shape[0], *self._shape[1:]))
            found = weight_gradient(self._d, self._x, whole, self._args).unflatten(0, (self._trials, -1))
            return flat(found).to(self._dtype)
        parts = zip(split(self._d, self._trials), split(self._x, self._trials), strict=True)
        each = [weight_gradient(d, x, self._shape, self._args) for d, x in parts]
        return flat(each[0][None] if len(each) == 1 else torch.stack(each)).to(self._dtype)

    def forward(self, weights: Tensor, biases: Tensor | None) -> Tensor:
        """x convolved with weights (T, P) as of `gradient`, plus biases (T, out): (T * N, out, H', W')."""
        if self._way == "product":
            kernel = weights.view(self._trials, *self._shape[:2]).mT
            if biases is None:
                return images(torch.bmm(self._x, kernel), self._inputs)
            return images(torch.baddbmm(biases[:, None], self._x, kernel), self._inputs)
        own = unflat(weights, self._shape)
        if self._way == "groups":
            bias = None if biases is None else biases.flatten()
            return apart(convolved(self._x, own.flatten(0, 1), self._args, bias), self._trials).to(self._dtype)
        each = [None] * self._trials if biases is None else list(biases.unbind())
        parts = zip(split(self._x, self._trials), own.unbind(), each, strict=True)
        return joined([convolved(x, weight, self._args, bias) for x, weight, bias in parts]).to(self._dtype)

    def transpose(self, weights: Tensor) -> Tensor:
        """d convolved with the transpose: (T * N, C, H, W)."""
        if self._way == "product":
            return images(torch.bmm(self._d, weights.view(self._trials, *self._shape[:2])), self._inputs)
        own = unflat(weights, self._shape)
        if self._way == "groups":
            whole = merged_shape(self._inputs, self._trials)
            return apart(input_gradient(self._d, own.flatten(0, 1), whole, self._args), self._trials).to(self._dtype)
        one = torch.Size((self._inputs[0] // self._trials, *self._inputs[1:]))
        parts = zip(split(self._d, self._trials), own.unbind(), strict=True)
        return joined([input_gradient(d, weight, one, self._args) for d, weight in parts]).to(self._dtype)


def _positions(x: torch.Size, weight: torch.Size, args: ConvArgs) -> int:
    """How many pixels a convolution's output has."""
    sides = zip(x[2:], weight[-2:], args.stride, args.padding, args.dilation, strict=True)
    return math.prod((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)
