"""A small smooth convolutional network as an input-gradient function Phi, with its Jacobian (Theorem 4.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gradleak.data.opening import open_dataset


def photographs(indices: list[int], side: int) -> Tensor:
    """Test images of photos10 in grey, as the vectors x of the theorems: float64 (n, side * side) in [0, 1]."""
    images = open_dataset("photos10", side, {}).images("test", indices)
    return images.mean(dim=1).flatten(1).to(torch.float64)


@dataclass(frozen=True)
class GradientMap:
    """Phi: images to the mean loss's gradient with respect to all p parameters, as one vector (p,).

    The network: 3x3 convolution with stride 2, tanh, a second one, tanh, one linear output, all with biases, and the
    logistic loss. It is smooth, so that Phi is differentiable everywhere. Inputs are vectors (B * D,) of B grey images
    with D = side * side pixels in [0, 1]. labels: (B,) of -1 or 1. parameters: float64, ask for gradients.
    """

    parameters: tuple[Tensor, ...]
    labels: Tensor
    side: int

    @property
    def p(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def inputs(self) -> int:
        """B * D."""
        return len(self.labels) * self.side**2

    def __call__(self, x: Tensor) -> Tensor:
        """Phi(x) (p,), by automatic differentiation. Differentiable if x asks for gradients."""
        first, first_bias, second, second_bias, head, head_bias = self.parameters
        images = x.view(len(self.labels), 1, self.side, self.side) - 0.5
        hidden = torch.tanh(_convolve(torch.tanh(_convolve(images, first, first_bias)), second, second_bias))
        loss = functional.softplus(-self.labels * (hidden.flatten(1) @ head + head_bias)).mean()
        found = torch.autograd.grad(loss, self.parameters, create_graph=x.requires_grad)
        return torch.cat([gradient.flatten() for gradient in found])

    @torch.no_grad()
    def jacobian(self, x: Tensor) -> Tensor:
        """Phi'(x) (p, B * D), in closed form: tangents of the forward and the backward pass for all pixels at once.

        By automatic differentiation it is the same, but takes five times as long.
        """
        images = x.view(len(self.labels), 1, self.side, self.side) - 0.5
        pairs = zip(images.split(1), self.labels, strict=True)
        return torch.cat([self._image_jacobian(image, label) for image, label in pairs], dim=1)

    def _image_jacobian(self, image: Tensor, label: Tensor) -> Tensor:
        """The columns (p, D) of one image (1, 1, side, side). Names: d_ is a tangent (D, ...), to_ a derivative of the
        loss with respect to what it names.
        """
        first, first_bias, second, second_bias, head, head_bias = self.parameters
        weights, biases = (first, second), (first_bias, second_bias)
        d_image = torch.eye(image.numel(), dtype=image.dtype).view(-1, *image.shape[1:])
        inputs, d_inputs, slopes, d_slopes = [image], [d_image], [], []
        for weight, bias in zip(weights, biases, strict=True):
            hidden = torch.tanh(_convolve(inputs[-1], weight, bias))
            d_hidden = (1 - hidden**2) * _convolve(d_inputs[-1], weight)
            slopes.append(1 - hidden**2)
            d_slopes.append(-2 * hidden * d_hidden)
            inputs.append(hidden)
            d_inputs.append(d_hidden)
        margin = label * (inputs[-1].flatten() @ head + head_bias)
        to_score = -label * torch.sigmoid(-margin) / len(self.labels)
        curvature = torch.sigmoid(margin) * torch.sigmoid(-margin) / len(self.labels)
        d_to_score = curvature * (d_inputs[-1].flatten(1) @ head)[:, None]
        features, d_features = inputs.pop(), d_inputs.pop()
        blocks = [d_to_score, d_to_score * features.flatten() + to_score * d_features.flatten(1)]
        to_hidden = to_score * head.view(features.shape)
        d_to_hidden = d_to_score.view(-1, 1, 1, 1) * head.view(features.shape)
        for layer in (1, 0):
            to_layer = to_hidden * slopes[layer]
            d_to_layer = d_to_hidden * slopes[layer] + to_hidden * d_slopes[layer]
            patches, d_patches = _patches(inputs[layer]), _patches(d_inputs[layer])
            d_weight = d_to_layer.flatten(2) @ patches.mT + to_layer.flatten(2) @ d_patches.mT
            blocks += [d_to_layer.sum(dim=(2, 3)), d_weight.flatten(1)]
            if layer:
                size = inputs[layer].shape[-1]
                to_hidden, d_to_hidden = (_transpose(part, weights[layer], size) for part in (to_layer, d_to_layer))
        return torch.cat(blocks[::-1], dim=1).T


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.conv2d(images, weight, bias, stride=2, padding=1)


def _patches(images: Tensor) -> Tensor:
    """The values that `_convolve` multiplies by its weights: (n, 9 channels, positions)."""
    return functional.unfold(images, 3, stride=2, padding=1)


def _transpose(outputs: Tensor, weight: Tensor, size: int) -> Tensor:
    """The transpose of `_convolve`, for inputs of size x size pixels."""
    padding = size - (2 * outputs.shape[-1] - 1)
    return functional.conv_transpose2d(outputs, weight, stride=2, padding=1, output_padding=padding)


def random_map(batch: int, side: int, channels: tuple[int, int], seed: int) -> GradientMap:
    """A map with random parameters; channels: of both convolutions. Labels alternate."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float) -> Tensor:
        drawn = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        return drawn.requires_grad_()

    first, second = channels
    outputs = second * ((side + 3) // 4) ** 2
    parameters = (
        normal(first, 1, 3, 3, scale=1 / 3),
        normal(first, scale=0.1),
        normal(second, first, 3, 3, scale=1 / (9 * first) ** 0.5),
        normal(second, scale=0.1),
        normal(outputs, scale=1 / outputs**0.5),
        normal(1, scale=0.1),
    )
    labels = torch.ones(batch, dtype=torch.float64)
    labels[1::2] = -1
    return GradientMap(parameters, labels, side)
