"""Grey images of a colour data set, for models of one channel."""

import torch
from torch import Tensor

from gradleak.data.base import ImageDataset, Split
from gradleak.data.view import View

# ITU-R 601: luminance of red, green and blue, in units of 2^-16, as Pillow's mode L has it.
_WEIGHTS = (19595, 38470, 7471)


def luminance(images: Tensor) -> Tensor:
    """The luminance (n, 1, h, w) of colour images (n, 3, h, w) in [0, 1], in steps of 1/255: that of Pillow's mode L.

    Grey images keep their values.
    """
    values = (images * 255).round().int()
    total = (values * torch.tensor(_WEIGHTS).to(values).view(3, 1, 1)).sum(dim=1, keepdim=True)
    return ((total + (1 << 15)) >> 16).float() / 255


class GreyImages(View):
    """The images of a data set in one channel. Mean and deviation are the whole's, weighted as the channels are."""

    def __init__(self, whole: ImageDataset) -> None:
        super().__init__(whole, one_channel(whole.mean), one_channel(whole.std))

    def _size(self, split: Split) -> int:
        return self.whole.size(split)

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        return list(luminance(self.whole.images(split, indices)))

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        return [int(label) for label in self.whole.labels(split, indices)]


def one_channel(values: tuple[float, ...]) -> tuple[float, ...]:
    """The luminance of a colour, as one value."""
    return (sum(weight * value for weight, value in zip(_WEIGHTS, values, strict=True)) / (1 << 16),)


def in_channels(dataset: ImageDataset, channels: int) -> ImageDataset:
    """A colour data set as a model of so many channels takes it: 3 as it is, 1 as luminance."""
    return dataset if channels == 3 else GreyImages(dataset)
