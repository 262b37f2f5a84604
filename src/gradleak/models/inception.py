"""GoogLeNet (Szegedy et al. 2015) and Inception v3 (2016) for small images, with a width multiplier.

The inception blocks are torchvision's, built from our own scaled convolutions. What differs from torchvision's
networks: no auxiliary classifiers, no dropout, PyTorch's default initialisation, and the `cifar` stem, which has the
layers of the original but does not shrink the image. A 32x32 image then enters the blocks at 32x32, about the 28x28
and 35x35 of the originals. Both stems of Inception v3 have the same parameters; GoogLeNet's first convolution is 3x3
instead of 7x7. The paper's net-in-net blocks #1, #2, ... (Table 3) are `nin1`, `nin2`, ... in forward order.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from gradleak.compat import prepare_torchvision
from gradleak.models.base import MODELS, scaled
from gradleak.models.stems import check_size, check_stem


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU; nothing in place, so that every output can be read."""

    def __init__(self, channels: int, out: int, **arguments: int | tuple[int, int]) -> None:
        conv: nn.Module = nn.Conv2d(channels, out, bias=False, **arguments)  # type: ignore[arg-type]
        layers = [("conv", conv), ("bn", nn.BatchNorm2d(out, eps=0.001)), ("relu", nn.ReLU())]
        super().__init__(OrderedDict(layers))


class InceptionNet(nn.Module):
    """Stem, inception blocks with max-pooling between some, global average pooling, one linear layer."""

    def __init__(self, stem: nn.Sequential, blocks: list["Block | nn.Module"], num_classes: int, width: float) -> None:
        super().__init__()
        self.stem = stem
        channels = [m.out_channels for m in stem.modules() if isinstance(m, nn.Conv2d)][-1]
        body: OrderedDict[str, nn.Module] = OrderedDict()
        self.parts = {"stem": ["stem"]}
        for entry in blocks:
            if isinstance(entry, Block):
                name = f"nin{len(self.parts)}"
                body[name] = entry.build(channels, width)
                self.parts[name] = [f"body.{name}"]
                channels = entry.out_channels(channels, width)
            else:
                body[f"pool{len(self.parts)}"] = entry
        self.body = nn.Sequential(body)
        self.fc = nn.Linear(channels, num_classes)
        self.parts["head"] = ["fc"]

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        return self.fc(self.body(self.stem(images)).mean(dim=(2, 3)))


@dataclass(frozen=True)
class Block:
    """A torchvision inception block of nominal sizes, to be built at any width.

    `arguments` are the block's own after its input channels, `channels` the nominal input channels, `branches` the
    nominal output channels of what it concatenates; "in" is a pooling branch that passes its input on.
    """

    kind: type[nn.Module]
    channels: int
    arguments: tuple[int, ...]
    branches: tuple[int | str, ...]

    def build(self, channels: int, width: float) -> nn.Module:
        """The block for a real number of input channels: rounding makes it differ from the scaled nominal one."""

        def convolution(before: int, after: int, **arguments: int | tuple[int, int]) -> nn.Module:
            # No block has an inner layer with as many nominal channels as its input.
            real = channels if before == self.channels else scaled(before, width)
            return ConvNormReLU(real, scaled(after, width), **arguments)

        return self.kind(self.channels, *self.arguments, conv_block=convolution)

    def out_channels(self, channels: int, width: float) -> int:
        """Channels of the concatenated branches."""
        return sum(channels if isinstance(branch, str) else scaled(branch, width) for branch in self.branches)


def _googlenet_block(channels: int, *sizes: int) -> Block:
    from torchvision.models.googlenet import Inception

    ones, _, threes, _, fives, pool = sizes
    return Block(Inception, channels, sizes, (ones, threes, fives, pool))


@MODELS.register("googlenet")
def googlenet(num_classes: int, resolution: int, width: float = 1.0, stem: str = "cifar") -> InceptionNet:
    """GoogLeNet with batch normalisation: `nin1` to `nin9` are inception 3a, 3b, 4a, 4b, 4c, 4d, 4e, 5a, 5b.

    As in torchvision, the branch that the publication calls 5x5 has a 3x3 convolution.
    """
    prepare_torchvision()
    check_stem(stem)
    check_size("googlenet", resolution, 8 if stem == "cifar" else 32)
    small, middle, large = (scaled(channels, width) for channels in (64, 64, 192))
    layers: list[nn.Module]
    if stem == "cifar":
        layers = [ConvNormReLU(3, small, kernel_size=3, padding=1)]
    else:
        layers = [ConvNormReLU(3, small, kernel_size=7, stride=2, padding=3), _pool(3)]
    layers += [ConvNormReLU(small, middle, kernel_size=1), ConvNormReLU(middle, large, kernel_size=3, padding=1)]
    if stem == "imagenet":
        layers.append(_pool(3))
    blocks: list[Block | nn.Module] = [
        _googlenet_block(192, 64, 96, 128, 16, 32, 32),
        _googlenet_block(256, 128, 128, 192, 32, 96, 64),
        _pool(3),
        _googlenet_block(480, 192, 96, 208, 16, 48, 64),
        _googlenet_block(512, 160, 112, 224, 24, 64, 64),
        _googlenet_block(512, 128, 128, 256, 24, 64, 64),
        _googlenet_block(512, 112, 144, 288, 32, 64, 64),
        _googlenet_block(528, 256, 160, 320, 32, 128, 128),
        _pool(2),
        _googlenet_block(832, 256, 160, 320, 32, 128, 128),
        _googlenet_block(832, 384, 192, 384, 48, 128, 128),
    ]
    return InceptionNet(nn.Sequential(*layers), blocks, num_classes, width)


@MODELS.register("inception_v3")
def inception_v3(num_classes: int, resolution: int, width: float = 1.0, stem: str = "cifar") -> InceptionNet:
    """Inception v3: `nin1` to `nin11` are torchvision's Mixed_5b, 5c, 5d, 6a, 6b, 6c, 6d, 6e, 7a, 7b, 7c."""
    prepare_torchvision()
    from torchvision.models.inception import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE

    check_stem(stem)
    check_size("inception_v3", resolution, 8 if stem == "cifar" else 75)
    shrink = stem == "imagenet"
    sizes = [3, *(scaled(channels, width) for channels in (32, 32, 64, 80, 192))]
    layers: list[nn.Module] = [
        ConvNormReLU(sizes[0], sizes[1], kernel_size=3, stride=1 + shrink, padding=1 - shrink),
        ConvNormReLU(sizes[1], sizes[2], kernel_size=3, padding=1 - shrink),
        ConvNormReLU(sizes[2], sizes[3], kernel_size=3, padding=1),
        *([nn.MaxPool2d(3, stride=2)] if shrink else []),
        ConvNormReLU(sizes[3], sizes[4], kernel_size=1),
        ConvNormReLU(sizes[4], sizes[5], kernel_size=3, padding=1 - shrink),
        *([nn.MaxPool2d(3, stride=2)] if shrink else []),
    ]
    blocks: list[Block | nn.Module] = [
        Block(InceptionA, 192, (32,), (64, 64, 96, 32)),
        Block(InceptionA, 256, (64,), (64, 64, 96, 64)),
        Block(InceptionA, 288, (64,), (64, 64, 96, 64)),
        Block(InceptionB, 288, (), (384, 96, "in")),
        *(Block(InceptionC, 768, (inner,), (192, 192, 192, 192)) for inner in (128, 160, 160, 192)),
        Block(InceptionD, 768, (), (320, 192, "in")),
        Block(InceptionE, 1280, (), (320, 384, 384, 384, 384, 192)),
        Block(InceptionE, 2048, (), (320, 384, 384, 384, 384, 192)),
    ]
    return InceptionNet(nn.Sequential(*layers), blocks, num_classes, width)


def _pool(kernel: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, stride=2, ceil_mode=True)
