"""The model registry, and how a model is built: normalisation inside, PyTorch's default initialisation, seeded."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradleak.errors import UserError, first_line
from gradleak.models.options import check_options
from gradleak.models.twice import plain_attention
from gradleak.registry import Registry
from gradleak.specs import ModelSpec

#: Name -> factory(num_classes, resolution, width, **options) -> module that maps normalised images to logits.
MODELS: Registry[Callable[..., nn.Module]] = Registry("model", "gradleak.models")


#: How the engine may differentiate a model, the fastest first. `tapped`: by its layers' inputs and outputs, where it
#: knows all layers. `together`: as one function, which `torch.func` transforms, of all trials at once. `alone`: by
#: plain autograd, one trial after another. Where one of them is right, so are those after it.
Way = Literal["tapped", "together", "alone"]


class Normalise(nn.Module):
    """The model's input step: images in [0, 1] to zero mean and unit variance per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map (..., 3, H, W) in [0, 1] to the same shape, normalised."""
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """A network behind its input step. Its parameter names are those of the network, prefixed by `network.`."""

    way: Way = "tapped"

    def __init__(self, network: nn.Module, num_classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.normalise = Normalise(mean, std)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, 3, H, W) in [0, 1] to logits (n, classes)."""
        with plain_attention():
            return self.network(self.normalise(images))


def build_model(
    spec: ModelSpec, num_classes: int, resolution: int, mean: Sequence[float], std: Sequence[float]
) -> Classifier:
    """Build a model at round 0: weights drawn by PyTorch's default initialisation from `spec.init_seed`.

    mean, std: one value for each of `spec.channels`. Raises UserError for an unknown model or option. The module is in
    evaluation mode.
    """
    factory = MODELS[spec.name]
    options: dict[str, Any] = dict(spec.options)
    check_options(spec.name, factory, options)
    # PyTorch's initialisers read the global generator: it is seeded inside a fork and restored after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.init_seed)
        try:
            network = factory(num_classes=num_classes, resolution=resolution, width=spec.width, **options)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"model '{spec.name}': options {options} do not fit ({first_line(error)})") from None
        if spec.channels != 3:
            take_channels(network, spec.channels, spec.name)
    return Classifier(without_inplace(network), num_classes, mean, std).eval()


def take_channels(network: nn.Module, channels: int, name: str) -> None:
    """Make a model of colour images one of so many channels: its first convolution, drawn anew by PyTorch's default.

    Raises UserError for a model whose first convolution does not read three channels.
    """
    convolutions = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    path, first = convolutions[0] if convolutions else ("", None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise UserError(f"model '{name}': has no first convolution of three channels, so model.channels must be 3")
    new = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
        padding_mode=first.padding_mode,
    )
    holder, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(holder), leaf, new)


def without_inplace(network: nn.Module) -> nn.Module:
    """Switch in-place activations off: the attack reads every layer's input and output after the forward pass."""
    for module in network.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
    return network


def scaled(channels: int, width: float) -> int:
    """A channel count times the width multiplier, at least 1."""
    return max(1, round(channels * width))


def set_bn_mode(model: nn.Module, mode: str) -> nn.Module:
    """Put batch normalisation into `eval` (running statistics) or `train` (statistics of the mini-batch) mode.

    In `train` mode the running statistics are dropped, so that a forward pass has no side effect. Changes `model`.
    """
    model.eval()
    if mode == "train":
        for layer in batch_norm_layers(model).values():
            layer.running_mean = None
            layer.running_var = None
            layer.num_batches_tracked = None
            layer.track_running_stats = False
    return model


def batch_norm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The model's batch-normalisation layers by name, in module order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
