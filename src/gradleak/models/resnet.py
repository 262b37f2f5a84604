"""ResNet-18 and ResNet-34 (He et al. 2016) with a CIFAR or an ImageNet stem and a width multiplier.

The blocks are torchvision's. Two things differ from torchvision's networks: the weights keep PyTorch's default
initialisation (the paper's Appx. B.I) where torchvision draws He-normal ones, and the CIFAR stem is one 3x3
convolution with stride 1 and no max-pooling, so that a 32x32 image reaches the last stage at 4x4.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from gradleak.compat import prepare_torchvision
from gradleak.errors import UserError
from gradleak.models.base import MODELS, scaled

prepare_torchvision()
from torchvision.models.resnet import BasicBlock, conv1x1  # noqa: E402

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


class ResNet(nn.Module):
    """Stem, four stages of basic blocks, global average pooling, one linear layer."""

    def __init__(self, blocks: tuple[int, ...], num_classes: int, width: float, stem: str) -> None:
        super().__init__()
        if stem not in STEMS:
            raise UserError(f"model option stem is '{stem}'; known: {', '.join(STEMS)}")
        channels = scaled(64, width)
        self.stem = STEMS[stem](channels)
        stages = []
        for index, count in enumerate(blocks):
            out = scaled(64 * 2**index, width)
            stages.append(_stage(channels, out, count, stride=1 if index == 0 else 2))
            channels = out
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        # A plain mean: adaptive pooling has no deterministic backward pass on CUDA.
        return self.fc(self.stages(self.stem(images)).mean(dim=(2, 3)))


def _stage(channels: int, out: int, count: int, stride: int) -> nn.Sequential:
    downsample = None
    if stride != 1 or channels != out:
        downsample = nn.Sequential(conv1x1(channels, out, stride), nn.BatchNorm2d(out))
    first = BasicBlock(channels, out, stride, downsample)
    return nn.Sequential(first, *(BasicBlock(out, out) for _ in range(count - 1)))


def _resnet(blocks: tuple[int, ...], num_classes: int, resolution: int, width: float, stem: str = "cifar") -> ResNet:
    return ResNet(blocks, num_classes, width, stem)


MODELS.register("resnet18")(partial(_resnet, (2, 2, 2, 2)))
MODELS.register("resnet34")(partial(_resnet, (3, 4, 6, 3)))
