"""Stems of ResNet and DenseNet: the first convolution, for images of 32 pixels or of ImageNet's size."""

from collections.abc import Callable

from torch import nn

from gradleak.errors import UserError

#: Name -> stem with the given number of output channels. Both are convolution, batch normalisation, ReLU; `cifar`
#: keeps the image's size, `imagenet` divides it by four.
STEMS: dict[str, Callable[[int], nn.Sequential]] = {
    "cifar": lambda channels: nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    ),
    "imagenet": lambda channels: nn.Sequential(
        nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ),
}


def check_stem(stem: str) -> None:
    """Raise UserError unless the model option `stem` is one that all families with stems know."""
    if stem not in STEMS:
        raise UserError(f"model option stem is '{stem}'; known: {', '.join(STEMS)}")


def check_size(name: str, resolution: int, least: int) -> None:
    """Raise UserError if images of `resolution` pixels are smaller than the `least` that a model can take."""
    if resolution < least:
        raise UserError(f"model '{name}': a {resolution}x{resolution} image is too small here; at least {least}")
