"""Convolutions with one weight per trial, each by the way that is fastest for its shape.

There are three ways: `loop`, trial after trial; `product`, of matrices, where the kernel is 1x1; `groups`, all trials
as groups of channels of one convolution.
"""

import math
from typing import Any, Literal, NamedTuple

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


def way_of(x: torch.Size, weight: torch.Size, args: ConvArgs, trials: int, device: str) -> Way:
    """How a convolution of x (T * N, C, H, W) with one weight (out, in, k, k) per trial is computed.

    The first row that holds of the table of a kind of device is taken.
    """
    sides = zip(x[2:], weight[2:], args.stride, args.padding, args.dilation, strict=True)
    positions = math.prod((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)
    operations = 2 * x[0] // trials * positions * weight.numel()
    plain = weight[2:].numel() == 1 and args[:2] == ((1, 1), (0, 0)) and args.groups == 1
    for row in WAYS[device]:
        enough = operations >= row.operations and weight.numel() >= row.weights
        if trials <= row.trials and enough and (plain or not row.plain):
            return row.way
    return "groups"


class _Parts:
    """The convolutions that one with a weight per trial consists of: T in a loop, or one of all trials as groups."""

    def __init__(self, args: ConvArgs, trials: int, loop: bool) -> None:
        self._trials, self._loop = trials, loop
        self.args = args if loop else args._replace(groups=trials * args.groups)

    def images(self, x: Tensor) -> list[Tensor]:
        """Of (T * N, C, H, W)."""
        return split(x, self._trials) if self._loop else [merge(x, self._trials)]

    def whole(self, parts: list[Tensor]) -> Tensor:
        """Undo `images`."""
        return joined(parts) if self._loop else apart(parts[0], self._trials)

    def shape(self, x: torch.Size) -> torch.Size:
        """The shape of a part of images of a shape."""
        return torch.Size((x[0] // self._trials, *x[1:])) if self._loop else merged_shape(x, self._trials)

    def weights(self, weights: Tensor | None) -> list[Any]:
        """Of weights (T, out, ...) or biases (T, out); None of none."""
        if weights is None:
            return [None] * (self._trials if self._loop else 1)
        return list(weights.unbind()) if self._loop else [weights.flatten(0, 1)]

    def weight_shape(self, one: torch.Size) -> torch.Size:
        """The shape of a part's weight, for that of one trial's."""
        return one if self._loop else torch.Size((self._trials * one[0], *one[1:]))


class PerTrial:
    """The operator of constant weights (T, out, in / groups, k, k), one per trial; biases (T, out)."""

    def __init__(self, weights: Tensor, args: ConvArgs) -> None:
        self._weights, self._args = weights, args
        self._made: dict[bool, tuple[_Parts, list[Constant]]] = {}

    def _of(self, x: torch.Size) -> tuple[_Parts, list[Constant]]:
        """What it consists of for inputs of a shape. Packed, 1x1 kernels in groups are faster than products."""
        trials, *one = self._weights.shape
        loop = way_of(x, torch.Size(one), self._args, trials, self._weights.device.type) == "loop"
        if loop not in self._made:
            parts = _Parts(self._args, trials, loop)
            self._made[loop] = parts, [Constant(weight, parts.args) for weight in parts.weights(self._weights)]
        return self._made[loop]

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operator`; `bias` is (T, out)."""
        parts, operators = self._of(x.shape)
        each = zip(operators, parts.images(x), parts.weights(bias), strict=True)
        return parts.whole([operator.forward(own, b) for operator, own, b in each])

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        parts, operators = self._of(shape)
        each = zip(operators, parts.images(d), strict=True)
        return parts.whole([operator.transpose(own, parts.shape(shape)) for operator, own in each])


class OneEach:
    """Inputs x (T * N, C, H, W) and backward signals d (T * N, out, H', W') of a convolution with one weight per trial.

    `shape` is that of one weight, (out, in / groups, k, k).
    """

    def __init__(self, x: Tensor, d: Tensor, shape: torch.Size, args: ConvArgs, trials: int) -> None:
        self._inputs, self._dtype = x.shape, x.dtype
        self._shape, self._trials = shape, trials
        way = way_of(x.shape, shape, args, trials, x.device.type)
        self._parts = _Parts(args, trials, loop=way == "loop")
        self._product = way == "product"
        if self._product:
            self._x, self._d = [rows(x, trials)], [rows(d, trials)]
        else:
            self._x, self._d = self._parts.images(operand(x)), self._parts.images(operand(d))

    def gradient(self) -> Tensor:
        """The gradients of the weights as (T, P), channels last."""
        if self._product:
            return torch.bmm(self._d[0].mT, self._x[0]).flatten(1)
        shape = self._parts.weight_shape(self._shape)
        each = [weight_gradient(d, x, shape, self._parts.args) for d, x in zip(self._d, self._x, strict=True)]
        own = torch.stack(each) if len(each) > 1 else each[0].unflatten(0, (self._trials, -1))
        return flat(own).to(self._dtype)

    def forward(self, weights: Tensor, biases: Tensor | None) -> Tensor:
        """x convolved with weights (T, P) as of `gradient`, plus biases (T, out): (T * N, out, H', W')."""
        if self._product:
            kernel = weights.view(self._trials, *self._shape[:2]).mT
            if biases is None:
                return images(torch.bmm(self._x[0], kernel), self._inputs)
            return images(torch.baddbmm(biases[:, None], self._x[0], kernel), self._inputs)
        own = self._parts.weights(unflat(weights, self._shape))
        each = zip(self._x, own, self._parts.weights(biases), strict=True)
        return self._parts.whole([convolved(x, w, self._parts.args, b) for x, w, b in each]).to(self._dtype)

    def transpose(self, weights: Tensor) -> Tensor:
        """d convolved with the transpose: (T * N, C, H, W)."""
        if self._product:
            return images(torch.bmm(self._d[0], weights.view(self._trials, *self._shape[:2])), self._inputs)
        own = self._parts.weights(unflat(weights, self._shape))
        shape, args = self._parts.shape(self._inputs), self._parts.args
        found = [input_gradient(d, w, shape, args) for d, w in zip(self._d, own, strict=True)]
        return self._parts.whole(found).to(self._dtype)
