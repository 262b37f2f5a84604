"""Layers that pair gradients with targets from their activations, for T trials that share one model.

For a layer with input x and backward signal d (the gradient of the loss with respect to its output), the gradient g
of its weight is bilinear in (x, d). The objective D depends on g through <g, g*> and <g, g> only, so that with the
slopes a = dD/d<g,g*> and b = dD/d<g,g> its derivative is v = a g* + 2 b g, and the layer's share of dD is

    <dd, layer(x; v)> + <dx, layer_transposed(d; v)>

Two strategies follow, neither of which differentiates through a parameter-sized tensor:

* *explicit*: form the per-trial g, then v.
* *implicit*: never form g. <g, g*> is <d, layer(x; g*)>, and <g, g> is the inner product of two Gram matrices over
  positions, of d and of the unfolded x. Cheaper where positions are few and weights many: a ResNet's deep layers.

Batches are laid out sample-major, (N * T, ...) with the trial running fastest: the same memory is a batch for the
shared weights and, viewed as (N, T * C, ...), T groups of channels for weights of which every trial has its own.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_convolution_backward = torch.ops.aten.convolution_backward
_batch_norm_backward = torch.ops.aten.native_batch_norm_backward
# On a CPU, one grouped convolution beats a loop over trials until a trial's weights outgrow the cache.
_LOOP_ABOVE = 100_000


class ConvArgs(NamedTuple):
    """Stride, padding, dilation and groups of a convolution."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def _input_gradient(d: Tensor, weight: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    x = d.new_empty(1).expand(shape)  # only its shape is read
    stride, padding, dilation, groups = args
    mask = (True, False, False)
    return _convolution_backward(d, x, weight, None, stride, padding, dilation, False, (0, 0), groups, mask)[0]


def _weight_gradient(d: Tensor, x: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    weight = d.new_empty(1).expand(shape)  # only its shape is read
    stride, padding, dilation, groups = args
    mask = (False, True, False)
    return _convolution_backward(d, x, weight, None, stride, padding, dilation, False, (0, 0), groups, mask)[1]


class Operator(Protocol):
    """A convolution with constant weights, as an operator on its input."""

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve (N * T, C, H, W)."""
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
        """The convolution of x (N * T, C, H, W) plus the bias."""
        ctx.operator, ctx.shape = operator, x.shape
        return operator.forward(x, bias)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        """The gradient with respect to x alone."""
        return _Transpose.apply(d, ctx.operator, ctx.shape), None, None


@dataclass(frozen=True)
class SharedWeight:
    """The operator of a weight (out, in, k, k) that all trials share."""

    weight: Tensor
    args: ConvArgs

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operator`."""
        return F.conv2d(x, self.weight, bias, *self.args)

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        return _input_gradient(d, self.weight, shape, self.args)


class Pairing(Protocol):
    """A tapped layer: its forward pass remembers input x and output y. Both methods run outside autograd."""

    x: Tensor
    y: Tensor

    def first(self, d: Tensor, target: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Per-trial <g, g*> and <g, g>, float64 (T,), for backward signal d and targets (T, ...)."""
        ...

    def second(self, d: Tensor, target: list[Tensor], by_inner: Tensor, by_norm2: Tensor) -> tuple[Tensor, Tensor]:
        """The objective's derivatives with respect to d and x through this layer's gradient, for slopes (T,)."""
        ...


class TappedConv(nn.Module):
    """A 2-d convolution that pairs per-trial gradients, explicitly or implicitly by cost."""

    def __init__(self, layer: nn.Conv2d, trials: int) -> None:
        super().__init__()
        assert not isinstance(layer.padding, str)
        self.weight = layer.weight.detach()
        self.bias = None if layer.bias is None else layer.bias.detach()
        self.args = ConvArgs(layer.stride, layer.padding, layer.dilation, layer.groups)
        self.trials = trials

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N * T, C, H, W) and remember input and output."""
        self.x = x
        self.y = Convolution.apply(x, SharedWeight(self.weight, self.args), self.bias)
        return self.y

    @property
    def _implicit(self) -> bool:
        out, fan_in = self.weight.shape[0], self.weight[0].numel()
        positions = self.y.numel() // (self.trials * out)
        return self.args.groups == 1 and positions * (fan_in + out) < out * fan_in

    def first(self, d: Tensor, target: list[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Pairing`."""
        self._by_bias = [] if self.bias is None else [per_trial(d, self.trials).sum(dim=(0, 3, 4))]
        if self._implicit:
            inner, norm2 = self._first_implicit(d, target[0].flatten(2))
        else:
            self._gradient = self._per_trial_gradient(d)
            inner = _dot([self._gradient], target[:1])
            norm2 = _dot([self._gradient], [self._gradient])
        if self._by_bias:
            inner, norm2 = inner + _dot(self._by_bias, target[1:]), norm2 + _dot(self._by_bias, self._by_bias)
        return inner, norm2

    def second(self, d: Tensor, target: list[Tensor], by_inner: Tensor, by_norm2: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pairing`."""
        if self._implicit:
            by_d, by_x = self._second_implicit(d, target[0].flatten(2), by_inner, by_norm2)
        else:
            (v,) = _cotangent([self._gradient], target[:1], by_inner, by_norm2)
            by_d = conv_per_trial(self.x, v, self.args)
            by_x = input_gradient_per_trial(d, v, self.x.shape, self.args)
            del self._gradient
        if self._by_bias:
            (v_bias,) = _cotangent(self._by_bias, target[1:], by_inner, by_norm2)
            by_d = (per_trial(by_d, self.trials) + v_bias[:, :, None, None]).view_as(d)
        del self._by_bias
        return by_d, by_x

    def _first_implicit(self, d: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        # Per trial, with positions as columns: p (fan-in, positions), s (out, positions), target (out, fan-in).
        self._p = _columns(self._unfold(self.x), self.trials)
        self._s = _columns(d.flatten(2), self.trials)
        self._gram_p, self._gram_s = self._p.mT @ self._p, self._s.mT @ self._s
        self._paired = target @ self._p
        return _dot([self._s], [self._paired]), _dot([self._gram_s], [self._gram_p])

    def _second_implicit(self, d: Tensor, target: Tensor, by_inner: Tensor, by_norm2: Tensor) -> tuple[Tensor, Tensor]:
        a, b2 = _like(by_inner, d).view(-1, 1, 1), _like(2 * by_norm2, d).view(-1, 1, 1)
        by_s = torch.baddbmm(self._paired * a, self._s, self._gram_p * b2)
        by_p = torch.baddbmm(target.mT @ (self._s * a), self._p, self._gram_s * b2)
        del self._p, self._s, self._gram_p, self._gram_s, self._paired
        samples = len(d) // self.trials
        return _rows(by_s, samples).reshape(d.shape), self._fold(_rows(by_p, samples))

    def _unfold(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.weight.shape[2:], self.args.dilation, self.args.padding, self.args.stride)

    def _fold(self, patches: Tensor) -> Tensor:
        stride, padding, dilation, _ = self.args
        return F.fold(patches, self.x.shape[2:], self.weight.shape[2:], dilation, padding, stride)

    def _per_trial_gradient(self, d: Tensor) -> Tensor:
        """Gradient of the weight per trial, (T, out, in, k, k)."""
        if self.trials > 1 and _loop(self.weight):
            x_t, d_t = per_trial(self.x, self.trials), per_trial(d, self.trials)
            shape = self.weight.shape
            return torch.stack([_weight_gradient(d_t[:, t], x_t[:, t], shape, self.args) for t in range(self.trials)])
        merged = torch.Size((self.trials * self.weight.shape[0], *self.weight.shape[1:]))
        args = self.args._replace(groups=self.trials * self.args.groups)
        gradient = _weight_gradient(side_by_side(d, self.trials), side_by_side(self.x, self.trials), merged, args)
        return gradient.view(self.trials, *self.weight.shape)


class TappedLinear(nn.Module):
    """A linear layer on (N * T, features) that pairs per-trial gradients, explicitly or implicitly by cost."""

    def __init__(self, layer: nn.Linear, trials: int) -> None:
        super().__init__()
        self.weight = layer.weight.detach()
        self.bias = None if layer.bias is None else layer.bias.detach()
        self.trials = trials

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and remember input and output."""
        self.x = x
        self.y = F.linear(x, self.weight, self.bias)
        return self.y

    @property
    def _implicit(self) -> bool:
        samples, (out, features) = len(self.x) // self.trials, self.weight.shape
        return samples * (features + out) < out * features

    def first(self, d: Tensor, target: list[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Pairing`."""
        # Per trial, with samples as rows: x (T, N, features), d (T, N, out).
        self._x, self._d = (per_trial(value, self.trials).transpose(0, 1) for value in (self.x, d))
        self._by_bias = [] if self.bias is None else [self._d.sum(dim=1)]
        if self._implicit:
            self._gram_x, self._gram_d = self._x @ self._x.mT, self._d @ self._d.mT
            self._paired = self._x @ target[0].mT
            inner, norm2 = _dot([self._d], [self._paired]), _dot([self._gram_d], [self._gram_x])
        else:
            self._gradient = self._d.mT @ self._x
            inner, norm2 = _dot([self._gradient], target[:1]), _dot([self._gradient], [self._gradient])
        if self._by_bias:
            inner, norm2 = inner + _dot(self._by_bias, target[1:]), norm2 + _dot(self._by_bias, self._by_bias)
        return inner, norm2

    def second(self, d: Tensor, target: list[Tensor], by_inner: Tensor, by_norm2: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pairing`."""
        if self._implicit:
            a, b2 = _like(by_inner, d).view(-1, 1, 1), _like(2 * by_norm2, d).view(-1, 1, 1)
            by_d = torch.baddbmm(self._paired * a, self._gram_x * b2, self._d)
            by_x = torch.baddbmm((self._d * a) @ target[0], self._gram_d * b2, self._x)
            del self._gram_x, self._gram_d, self._paired
        else:
            (v,) = _cotangent([self._gradient], target[:1], by_inner, by_norm2)
            by_d, by_x = self._x @ v.mT, self._d @ v
            del self._gradient
        if self._by_bias:
            (v_bias,) = _cotangent(self._by_bias, target[1:], by_inner, by_norm2)
            by_d = by_d + v_bias[:, None]
        del self._x, self._d, self._by_bias
        return by_d.transpose(0, 1).reshape(d.shape), by_x.transpose(0, 1).reshape(self.x.shape)


class TappedBatchNorm(nn.Module):
    """Batch normalisation with running statistics, as the affine map that it is."""

    def __init__(self, layer: nn.BatchNorm2d, trials: int) -> None:
        super().__init__()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        # Per channel of trials side by side.
        self.repeated = (layer.running_mean.repeat(trials), layer.running_var.repeat(trials))
        self.eps = layer.eps
        self.mean = layer.running_mean[:, None, None]
        self.inverse_std = (layer.running_var + layer.eps).rsqrt()[:, None, None]
        weight, bias = layer.weight.detach()[:, None, None], layer.bias.detach()[:, None, None]
        self.scale = weight * self.inverse_std
        self.shift = bias - self.mean * self.scale
        self.trials = trials

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N * T, C, H, W) and remember input and output."""
        self.x = x
        self.y = torch.addcmul(self.shift, x, self.scale)
        return self.y

    def first(self, d: Tensor, target: list[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Pairing`."""
        # One pass over d and x gives both reductions, with trials as groups of channels.
        mean, variance = self.repeated
        x, d_merged = side_by_side(self.x, self.trials), side_by_side(d, self.trials)
        _, by_weight, by_bias = _batch_norm_backward(
            d_merged, x, None, mean, variance, None, None, False, self.eps, (False, True, True)
        )
        by_weight, by_bias = by_weight.view(self.trials, -1), by_bias.view(self.trials, -1)
        self._gradient = [by_weight, by_bias]
        return _dot(self._gradient, target), _dot(self._gradient, self._gradient)

    def second(self, d: Tensor, target: list[Tensor], by_inner: Tensor, by_norm2: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pairing`."""
        v_weight, v_bias = _cotangent(self._gradient, target, by_inner, by_norm2)
        del self._gradient
        scale = v_weight[:, :, None, None] * self.inverse_std
        shift = v_bias[:, :, None, None] - self.mean * scale
        by_d = torch.addcmul(shift, per_trial(self.x, self.trials), scale)
        return by_d.view_as(d), (per_trial(d, self.trials) * scale).view_as(d)


def conv_per_trial(x: Tensor, weight: Tensor, args: ConvArgs) -> Tensor:
    """Convolve (N * T, C, H, W) with one weight per trial, (T, out, in, k, k): (N * T, out, H', W')."""
    trials = len(weight)
    if trials > 1 and _loop(weight[0]):
        x_t = per_trial(x, trials)
        parts = [F.conv2d(x_t[:, t], weight[t], None, *args) for t in range(trials)]
        return torch.stack(parts, dim=1).flatten(0, 1)
    args = args._replace(groups=trials * args.groups)
    y = F.conv2d(side_by_side(x, trials), weight.flatten(0, 1), None, *args)
    return y.view(len(x), -1, *y.shape[2:])


def input_gradient_per_trial(d: Tensor, weight: Tensor, shape: torch.Size, args: ConvArgs) -> Tensor:
    """Transpose of `conv_per_trial`: backward signals (N * T, out, H', W') to (N * T, C, H, W) = `shape`."""
    trials = len(weight)
    if trials > 1 and _loop(weight[0]):
        d_t = per_trial(d, trials)
        one = torch.Size((shape[0] // trials, *shape[1:]))
        parts = [_input_gradient(d_t[:, t], weight[t], one, args) for t in range(trials)]
        return torch.stack(parts, dim=1).flatten(0, 1)
    args = args._replace(groups=trials * args.groups)
    merged = torch.Size((shape[0] // trials, trials * shape[1], *shape[2:]))
    return _input_gradient(side_by_side(d, trials), weight.flatten(0, 1), merged, args).view(shape)


def per_trial(x: Tensor, trials: int) -> Tensor:
    """(N * T, ...) as (N, T, ...)."""
    return x.reshape(-1, trials, *x.shape[1:])


def side_by_side(x: Tensor, trials: int) -> Tensor:
    """(N * T, C, H, W) as (N, T * C, H, W): the trials as groups of channels, without a copy."""
    return x.reshape(len(x) // trials, -1, *x.shape[2:])


def _loop(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.numel() > _LOOP_ABOVE


def _columns(x: Tensor, trials: int) -> Tensor:
    """(N * T, K, L) to (T, K, N * L): all positions of a trial side by side."""
    return per_trial(x, trials).permute(1, 2, 0, 3).flatten(2)


def _rows(columns: Tensor, samples: int) -> Tensor:
    """Undo `_columns`: (T, K, N * L) to (N * T, K, L)."""
    return columns.unflatten(2, (samples, -1)).permute(2, 0, 1, 3).flatten(0, 1)


def _dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """Sum over parameters of the inner products per trial of (T, ...): float64 (T,)."""
    parts = [torch.einsum("tp,tp->t", a.flatten(1), b.flatten(1)) for a, b in zip(left, right, strict=True)]
    return torch.stack(parts).double().sum(dim=0)


def _cotangent(gradient: list[Tensor], target: list[Tensor], by_inner: Tensor, by_norm2: Tensor) -> list[Tensor]:
    """The objective's derivative a g* + 2 b g with respect to the gradient g, per parameter (T, ...)."""
    cotangents = []
    for g, t in zip(gradient, target, strict=True):
        shape = (-1,) + (1,) * (g.dim() - 1)
        a, b2 = _like(by_inner, g).view(shape), _like(2 * by_norm2, g).view(shape)
        cotangents.append((g * b2).addcmul_(t, a))
    return cotangents


def _like(x: Tensor, other: Tensor) -> Tensor:
    return x.to(other.dtype)
