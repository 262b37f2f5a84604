"""Tapped layers with one weight per trial: for trials that share the architecture of their model, not the weights.

How gradients are paired is as in `layers`: it needs the activations and the weight's shape only. What differs is the
layer itself, which computes with T weights: a convolution with groups of channels, a linear layer with a batched
product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradleak.engine.layers import (
    ConvArgs,
    Convolution,
    TappedBatchNorm,
    TappedConv,
    TappedLinear,
    conv_per_trial,
    input_gradient_per_trial,
    per_trial,
)


@dataclass(frozen=True)
class OwnWeights:
    """The operator of weights (T, out, in, k, k), one per trial; biases (T, out, 1, 1)."""

    weights: Tensor
    args: ConvArgs

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operator`."""
        y = conv_per_trial(x, self.weights, self.args)
        return y if bias is None else (per_trial(y, len(self.weights)) + bias).flatten(0, 1)

    def transpose(self, d: Tensor, shape: torch.Size) -> Tensor:
        """See `Operator`."""
        return input_gradient_per_trial(d, self.weights, shape, self.args)


class OwnConv(TappedConv):
    """A 2-d convolution with weights (T, out, in, k, k) and, where there are any, biases (T, out)."""

    def __init__(self, layers: Sequence[nn.Conv2d]) -> None:
        super().__init__(layers[0], len(layers))
        self.weights = _stacked(layers, "weight")
        self.biases = None if self.bias is None else _stacked(layers, "bias")[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N * T, C, H, W), each trial with its own weight, and remember input and output."""
        self.x = x
        self.y = Convolution.apply(x, OwnWeights(self.weights, self.args), self.biases)
        return self.y


class OwnLinear(TappedLinear):
    """A linear layer with weights (T, out, features) and, where there are any, biases (T, out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__(layers[0], len(layers))
        self.weights = _stacked(layers, "weight")
        self.biases = None if self.bias is None else _stacked(layers, "bias")

    def forward(self, x: Tensor) -> Tensor:
        """Apply each trial's own layer to (N * T, features) and remember input and output."""
        self.x = x
        y = (per_trial(x, self.trials).transpose(0, 1) @ self.weights.mT).transpose(0, 1)
        self.y = (y if self.biases is None else y + self.biases).flatten(0, 1)
        return self.y


class OwnBatchNorm(TappedBatchNorm):
    """Batch normalisation with weights, biases and running statistics (T, C), as the affine maps that they are."""

    def __init__(self, layers: Sequence[nn.BatchNorm2d]) -> None:
        super().__init__(layers[0], len(layers))
        means, variances = _stacked(layers, "running_mean"), _stacked(layers, "running_var")
        self.repeated = (means.flatten(), variances.flatten())
        self.mean = means[:, :, None, None]
        self.inverse_std = (variances + self.eps).rsqrt()[:, :, None, None]
        self.scale = _stacked(layers, "weight")[:, :, None, None] * self.inverse_std
        self.shift = _stacked(layers, "bias")[:, :, None, None] - self.mean * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N * T, C, H, W), each trial with its own statistics, and remember input and output."""
        self.x = x
        self.y = torch.addcmul(self.shift, per_trial(x, self.trials), self.scale).flatten(0, 1)
        return self.y


def _stacked(layers: Sequence[nn.Module], name: str) -> Tensor:
    return torch.stack([getattr(layer, name).detach() for layer in layers])
