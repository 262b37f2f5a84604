"""Layers that pair gradients with targets from their activations, for T trials that share one architecture.

For a layer with input x and backward signal d (the gradient of the loss with respect to its output), the gradient g
of its weight is bilinear in (x, d). The objective D depends on g through <g, g*> and <g, g> only, so that with the
slopes a = dD/d<g,g*> and b = dD/d<g,g> its derivative is v = a g* + 2 b g, and the layer's share of dD is

    <dd, layer(x; v)> + <dx, layer_transposed(d; v)>

Two strategies follow, neither of which differentiates through a parameter-sized tensor:

* *explicit*: form the per-trial g, then v.
* *implicit*: never form g, but Gram matrices over positions (`gram`). Cheaper where positions are few and weights
  many: a network's deep layers.

A model's weights are one for all trials, or T of them. Batches are trial-major, (T * N, ...).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradleak.engine import gram
from gradleak.engine.convolutions import Constant, ConvArgs, Operator, convolution
from gradleak.engine.layout import dot, flat, laid_out
from gradleak.engine.linear import Linear, Map, PiecewiseLinear
from gradleak.engine.per_trial import OneEach, PerTrial
from gradleak.engine.whitening import Whitener

_batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default

#: <g, g*> and <g, g> of one parameter, each (T,).
Numbers = tuple[Tensor, Tensor]


class Tapped(Protocol):
    """A layer whose forward pass remembers input x and output y. All other methods run outside autograd.

    Its parameters are a weight matrix (or kernel), which the layer pairs itself, and vectors, whose gradients it only
    computes. `matrix` and `vectors` are their names within the layer.
    """

    x: Tensor
    y: Tensor
    matrix: str | None
    vectors: tuple[str, ...]

    def aim(self, target: Tensor) -> None:
        """Remember the target (T, ...) of the matrix."""
        ...

    def pair(self, d: Tensor) -> Numbers:
        """The numbers of the matrix, for the backward signal d."""
        ...

    def gradients(self, d: Tensor) -> list[Tensor]:
        """The gradients (T, P) of the vectors, for the backward signal d."""
        ...

    def pull(self, d: Tensor, slopes: Numbers | None, cotangents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The objective's derivatives with respect to d and x through this layer's gradient.

        `slopes` are a and 2 b of the matrix, each (T, 1), None where there is none; `cotangents` are the objective's
        derivatives (T, P) with respect to the gradients of the vectors, as `Vectors.cotangents` gives them.
        """
        ...


class TappedConv(nn.Module):
    """A 2-d convolution: one for all trials, or one of each."""

    def __init__(self, layers: Sequence[nn.Conv2d], trials: int) -> None:
        super().__init__()
        first = layers[0]
        assert not isinstance(first.padding, str)
        self.matrix, self.vectors = "weight", () if first.bias is None else ("bias",)
        self._args = ConvArgs(first.stride, first.padding, first.dilation, first.groups)
        # A kernel of one cell with a stride looks at some pixels only.
        self._sampled: tuple[int, int] | None = None
        if first.weight[0, 0].numel() == 1 and max(first.stride) > 1 and max(first.padding) == 0:
            down, across = first.stride
            self._sampled, self._args = (down, across), self._args._replace(stride=(1, 1))
        self._shape, self._trials = first.weight.shape, trials
        own = len(layers) > 1
        weight = _stacked(layers, "weight") if own else first.weight.detach()
        bias = None if first.bias is None else _stacked(layers, "bias") if own else first.bias.detach()
        self._operator: Operator = PerTrial(weight, self._args) if own else Constant(weight, self._args)
        self._bias = bias
        self._sums: tuple[torch.Size, gram.AlongKernel] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (T * N, C, H, W) and remember input and output."""
        if self._sampled is not None:
            x = _every(x, *self._sampled)
        self.x = x = laid_out(x)
        self.y = convolution(x, self._operator, self._bias)
        return self.y

    def aim(self, target: Tensor) -> None:
        """See `Tapped`."""
        self._flat_target, self._target = flat(target), PerTrial(target, self._args)

    @property
    def _implicit(self) -> bool:
        return gram.pays(self.x.shape, self.y.shape, self._shape, self._args, self._trials)

    def pair(self, d: Tensor) -> Numbers:
        """See `Tapped`."""
        if self._implicit:
            self._grams = gram.Implicit(self.x, d, self._target, self._along_kernel, self._trials)
            return self._grams.pair()
        self._each = OneEach(self.x, d, self._shape, self._args, self._trials)
        self._gradient = self._each.gradient()
        return dot(self._gradient, self._flat_target), dot(self._gradient, self._gradient)

    @property
    def _along_kernel(self) -> gram.AlongKernel:
        key = self.x.shape
        if self._sums is None or self._sums[0] != key:
            self._sums = key, gram.AlongKernel(self.x, self.y.shape, self._shape, self._args, self._trials)
        return self._sums[1]

    def gradients(self, d: Tensor) -> list[Tensor]:
        """See `Tapped`."""
        return [d.unflatten(0, (self._trials, -1)).sum(dim=(1, 3, 4))] if self.vectors else []

    def pull(self, d: Tensor, slopes: Numbers | None, cotangents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Tapped`."""
        assert slopes is not None
        a, b2 = slopes
        bias = cotangents[0] if cotangents else None
        if self._implicit:
            by_d, by_x = self._grams.pull(a, b2)
            del self._grams
            by_d = _biased(by_d, cotangents)
        else:
            v = (self._gradient * b2).addcmul_(self._flat_target, a)
            by_d, by_x = self._each.forward(v, bias), self._each.transpose(v)
            del self._gradient, self._each
        return by_d, by_x

    def channelwise(self, matrices: Tensor | None) -> Map:
        """Maps channels of images (T * N, C, H, W) by symmetric matrices (T, C, C); or nothing."""
        if matrices is None:
            return _same
        operator = PerTrial(matrices[..., None, None], ConvArgs((1, 1), (0, 0), (1, 1), 1))
        return lambda x: laid_out(operator.forward(x))


class TappedLinear(nn.Module):
    """A linear layer on (T * N, features), one for all trials or one of each, paired by the cheaper strategy."""

    def __init__(self, layers: Sequence[nn.Linear], trials: int) -> None:
        super().__init__()
        first = layers[0]
        self.matrix, self.vectors = "weight", () if first.bias is None else ("bias",)
        self._shape, self._trials = first.weight.shape, trials
        own = len(layers) > 1
        self._weight = _stacked(layers, "weight") if own else first.weight.detach()
        self._bias = None if first.bias is None else _stacked(layers, "bias")[:, None] if own else first.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and remember input and output."""
        self.x = x
        if self._weight.dim() == 2:
            self.y = F.linear(x, self._weight, self._bias)
        else:
            y = x.unflatten(0, (self._trials, -1)) @ self._weight.mT
            self.y = (y if self._bias is None else y + self._bias).flatten(0, 1)
        return self.y

    def aim(self, target: Tensor) -> None:
        """See `Tapped`."""
        self._target = target

    @property
    def _implicit(self) -> bool:
        samples, (out, features) = len(self.x) // self._trials, self._shape
        return samples * (features + out) < out * features

    def pair(self, d: Tensor) -> Numbers:
        """See `Tapped`."""
        # Per trial, with samples as rows: x (T, N, features), d (T, N, out).
        self._x, self._d = (value.unflatten(0, (self._trials, -1)) for value in (self.x, d))
        if self._implicit:
            self._gram_x, self._gram_d = self._x @ self._x.mT, self._d @ self._d.mT
            self._paired = self._x @ self._target.mT
            inner = dot(self._d.flatten(1), self._paired.flatten(1))
            return inner, dot(self._gram_d.flatten(1), self._gram_x.flatten(1))
        self._gradient = self._d.mT @ self._x
        flat = self._gradient.flatten(1)
        return dot(flat, self._target.flatten(1)), dot(flat, flat)

    def gradients(self, d: Tensor) -> list[Tensor]:
        """See `Tapped`."""
        return [d.unflatten(0, (self._trials, -1)).sum(dim=1)] if self.vectors else []

    def pull(self, d: Tensor, slopes: Numbers | None, cotangents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Tapped`."""
        assert slopes is not None
        a, b2 = (slope[:, None] for slope in slopes)
        if self._implicit:
            by_d = torch.baddbmm(self._paired * a, self._gram_x * b2, self._d)
            by_x = torch.baddbmm((self._d * a) @ self._target, self._gram_d * b2, self._x)
            del self._gram_x, self._gram_d, self._paired
        else:
            v = (self._gradient * b2).addcmul_(self._target, a)
            by_d, by_x = self._x @ v.mT, self._d @ v
            del self._gradient
        del self._x, self._d
        return _biased(by_d.flatten(0, 1), cotangents), by_x.flatten(0, 1)

    def channelwise(self, matrices: Tensor | None) -> Map:
        """Maps features (T * N, F) by symmetric matrices (T, F, F); or nothing."""
        if matrices is None:
            return _same
        return lambda x: (x.unflatten(0, (self._trials, -1)) @ matrices).flatten(0, 1)


class TappedBatchNorm(nn.Module):
    """Batch normalisation with running statistics, one for all trials or one of each, as the affine maps they are."""

    matrix: str | None = None

    def __init__(self, layers: Sequence[nn.BatchNorm2d], trials: int) -> None:
        super().__init__()
        self.vectors: tuple[str, ...] = ("weight", "bias")
        self._trials, self._eps, self._own = trials, layers[0].eps, len(layers) > 1
        means, variances = _stacked(layers, "running_mean"), _stacked(layers, "running_var")
        self._statistics = means[0], variances[0]
        self.mean, self.inverse_std = means, (variances + self._eps).rsqrt()
        wide = self.inverse_std[:, None, :, None, None]
        self._normalising = -means[:, None, :, None, None] * wide, wide
        scale = _stacked(layers, "weight") * self.inverse_std
        shift = _stacked(layers, "bias") - means * scale
        if self._own:
            scale, shift = scale[:, None], shift[:, None]
        else:
            scale, shift = scale[0], shift[0]
        self._scale, self._shift = scale[..., None, None], shift[..., None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (T * N, C, H, W) and remember input and output."""
        self.x = x
        if self._own:
            x = x.unflatten(0, (self._trials, -1))
        y = _affine(x, self._scale, self._shift)
        self.y = y.flatten(0, 1) if self._own else y
        return self.y

    def aim(self, target: Tensor) -> None:
        """See `Tapped`."""
        raise AssertionError("has no matrix")

    def pair(self, d: Tensor) -> Numbers:
        """See `Tapped`."""
        raise AssertionError("has no matrix")

    def gradients(self, d: Tensor) -> list[Tensor]:
        """See `Tapped`."""
        if self._trials == 1:  # one pass over d and x gives both reductions
            mask = (False, True, True)
            mean, variance = self._statistics
            found = _batch_norm_backward(d, self.x, None, mean, variance, None, None, False, self._eps, mask)
            return [found[1][None], found[2][None]]
        x, d = (value.unflatten(0, (self._trials, -1)) for value in (self.x, d))
        shift, scale = self._normalising
        normalised = torch.addcmul(shift, x, scale)
        return [(d * normalised).sum(dim=(1, 3, 4)), d.sum(dim=(1, 3, 4))]

    def pull(self, d: Tensor, slopes: Numbers | None, cotangents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Tapped`."""
        scale, shift = cotangents
        if self._trials == 1:
            scale, shift = scale.view(-1, 1, 1), shift.view(-1, 1, 1)
            return torch.addcmul(shift, self.x, scale), d * scale
        shape = (self._trials, 1, -1, 1, 1)
        scale, shift = scale.view(shape), shift.view(shape)
        x, d = (value.unflatten(0, (self._trials, -1)) for value in (self.x, d))
        return torch.addcmul(shift, x, scale).flatten(0, 1), (d * scale).flatten(0, 1)


class Whitened:
    """A tapped layer whose matrix is whitened: from the left as its backward signals, from the right as its inputs."""

    def __init__(
        self, layer: TappedConv | TappedLinear, left: Map, right: Map, target: Callable[[Tensor], Tensor]
    ) -> None:
        """`left` and `right` map backward signals and inputs, `target` a target (T, ...)."""
        self._layer, self._left, self._right, self._whitened = layer, left, right, target
        self.matrix: str | None = layer.matrix
        self.vectors: tuple[str, ...] = layer.vectors

    @classmethod
    def around(cls, layer: Tapped, path: str, whitener: Whitener) -> Tapped:
        """The layer whose parameters' names begin with `path`, whitened; as it is where a matrix has but a factor."""
        if not isinstance(layer, TappedConv | TappedLinear):
            return layer
        name = f"{path}{layer.matrix}"
        sides = whitener.matrices[name]
        if "factor" in sides:
            return layer
        left, right = (layer.channelwise(sides.get(side)) for side in ("left", "right"))
        return cls(layer, left, right, lambda target: whitener({name: target})[name])

    @property
    def x(self) -> Tensor:
        """Input."""
        return self._layer.x

    @property
    def y(self) -> Tensor:
        """Output."""
        return self._layer.y

    def aim(self, target: Tensor) -> None:
        """See `Tapped`."""
        self._layer.aim(self._whitened(target))

    def pair(self, d: Tensor) -> Numbers:
        """See `Tapped`."""
        x, self._d = self._layer.x, self._left(d)
        self._layer.x = self._right(x)
        numbers = self._layer.pair(self._d)
        self._layer.x = x
        return numbers

    def gradients(self, d: Tensor) -> list[Tensor]:
        """See `Tapped`."""
        return self._layer.gradients(d)

    def pull(self, d: Tensor, slopes: Numbers | None, cotangents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Tapped`."""
        by_d, by_x = self._layer.pull(self._d, slopes, [])
        by_d, by_x = self._left(by_d), self._right(by_x)
        del self._d
        return _biased(by_d, cotangents), by_x


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift with constant scale and shift."""

    def scaled(x: Tensor) -> Tensor:
        return x * scale

    found: Tensor = PiecewiseLinear.apply(x, lambda x: (torch.addcmul(shift, x, scale), scaled, scaled))
    return found


def _biased(by_d: Tensor, cotangents: Sequence[Tensor]) -> Tensor:
    """The derivative with respect to d (T * N, out, ...), with what a bias adds to it: cotangents (T, out), if any."""
    for v in cotangents:
        each = by_d.unflatten(0, (len(v), -1))
        by_d = (each + v.view(len(v), 1, -1, *(1,) * (each.dim() - 3))).flatten(0, 1)
    return by_d


def _same(x: Tensor) -> Tensor:
    return x


def _every(x: Tensor, down: int, across: int) -> Tensor:
    """Every so many pixels of x (B, C, H, W)."""
    shape = x.shape

    def spread(d: Tensor) -> Tensor:
        wide = torch.empty(shape, dtype=d.dtype, device=d.device, memory_format=torch.channels_last).zero_()
        wide[:, :, ::down, ::across] = d
        return wide

    found: Tensor = Linear.apply(x, lambda x: x[:, :, ::down, ::across], spread)
    return found


def _stacked(layers: Sequence[nn.Module], name: str) -> Tensor:
    return torch.stack([getattr(layer, name).detach() for layer in layers])
