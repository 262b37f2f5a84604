"""DenseNet-43 and DenseNet-53 and their two variants with fewer connections (Ju et al. 2022), for Figure 10.

"Connection Reduction of DenseNet for Image Recognition", ISPACS 2022, calls them Baseline, ShortNet1 and ShortNet2.
A block has n layers of one 3x3 convolution and ReLU each, 32 channels wide. Layer 1 reads the block's input, which
goes no further; layer l > 1 reads the concatenated outputs of layers

* variant 0 (dense): 1 to l - 1;
* variant 1: l - 1, every second layer from l - 2 down, and layer 1;
* variant 2: l - 1 and l - 2; for odd l also l - 4, l - 8, l - 16, ... as far as they exist.

What leaves the block is what a layer n + 1 would read. Our reading of the publication, with the connections of the
models that its authors published. It gives the numbers of parameters that the publication prints (2.17,
1.59, 0.97 and 3.15, 2.16, 1.20 million).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gradleak.errors import UserError
from gradleak.models.base import MODELS, scaled
from gradleak.models.stems import check_size

_GROWTH, _STEM, _HIDDEN = 32, 64, 512
#: Per variant, the channels that the last transition leaves; all other transitions halve theirs.
_LAST = (128, 128, 64)


def _dense(layer: int) -> list[int]:
    return list(range(1, layer))


def _every_second(layer: int) -> list[int]:
    return sorted({layer - 1, 1, *range(layer - 2, 0, -2)})


def _powers_of_two(layer: int) -> list[int]:
    farthest = layer - 1 if layer % 2 else 2
    distances = [2**n for n in range(layer.bit_length()) if 2**n <= min(farthest, layer - 1)]
    return sorted(layer - distance for distance in distances)


#: Per variant, the layers (from 1) that layer l >= 2 of a block reads.
SOURCES: tuple[Callable[[int], list[int]], ...] = (_dense, _every_second, _powers_of_two)


class ConnectedBlock(nn.Module):
    """Batch normalisation, then convolutions that each read the outputs of the layers that `sources` names."""

    def __init__(self, layers: int, channels: int, growth: int, sources: Callable[[int], list[int]]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.sources = [sources(layer) for layer in range(2, layers + 2)]
        inputs = [channels, *(growth * len(read) for read in self.sources)]
        self.convs = nn.ModuleList(nn.Conv2d(size, growth, 3, padding=1) for size in inputs[:-1])
        self.out_channels = inputs[-1]

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (n, channels, H, W) to (n, out_channels, H, W)."""
        outputs: list[Tensor] = []
        read = self.norm(inputs)
        for conv, sources in zip(self.convs, self.sources, strict=True):
            outputs.append(self.relu(conv(read)))
            read = torch.cat([outputs[source - 1] for source in sources], dim=1)
        return read

    @property
    def skips(self) -> int:
        """Connections between layers that are not neighbours. The layer after the block counts as one."""
        return sum(len(sources) - 1 for sources in self.sources)


class ReducedDenseNet(nn.Module):
    """A 7x7 convolution, four blocks with transitions that halve the size, two linear layers without a ReLU between.

    The first linear layer reads the flattened last feature map, 2x2 for a 32x32 image. Its input grows with the image.
    """

    def __init__(
        self, layers: tuple[int, ...], num_classes: int, resolution: int, width: float, variant: int = 0
    ) -> None:
        super().__init__()
        if isinstance(variant, bool) or variant not in range(len(SOURCES)):
            raise UserError(f"model option variant is {variant!r}; known: 0 (dense), 1, 2")
        check_size("densenet43/53", resolution, 2 ** len(layers))
        growth, channels = scaled(_GROWTH, width), scaled(_STEM, width)
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 7, padding=3, bias=False), nn.ReLU())
        body: list[nn.Module] = []
        self.parts = {"stem": ["stem"]}
        self.skips = 0
        for index, count in enumerate(layers, start=1):
            block = ConnectedBlock(count, channels, growth, SOURCES[variant])
            last = index == len(layers)
            channels = scaled(_LAST[variant], width) if last else max(1, block.out_channels // 2)
            body += [block, _transition(block.out_channels, channels)]
            self.parts[f"block{index}"] = [f"body.{2 * index - 2}"]
            self.parts[f"transition{index}"] = [f"body.{2 * index - 1}"]
            self.skips += block.skips
        self.body = nn.Sequential(*body, nn.BatchNorm2d(channels), nn.Flatten())
        size = resolution // 2 ** len(layers)
        self.hidden = nn.Linear(channels * size * size, scaled(_HIDDEN, width))
        self.fc = nn.Linear(scaled(_HIDDEN, width), num_classes)
        self.parts["head"] = [f"body.{2 * len(layers)}", "hidden", "fc"]

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        return self.fc(self.hidden(self.body(self.stem(images))))


def _transition(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 1), nn.ReLU(), nn.BatchNorm2d(out), nn.AvgPool2d(2))


MODELS.register("densenet43")(partial(ReducedDenseNet, (8, 10, 12, 8)))
MODELS.register("densenet53")(partial(ReducedDenseNet, (10, 12, 16, 8)))
