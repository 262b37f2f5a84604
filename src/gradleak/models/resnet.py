"""ResNet-18, -34, -50 and -152 (He et al. 2016) with a CIFAR or an ImageNet stem, a width multiplier, and a cut.

The blocks are torchvision's. Three things differ from torchvision's networks: the weights keep PyTorch's default
initialisation (the paper's Appx. B.I) where torchvision draws He-normal ones, the CIFAR stem is one 3x3 convolution
with stride 1 and no max-pooling, so that a 32x32 image reaches the last stage at 4x4, and one shortcut can be cut.
"""

from functools import partial
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from gradleak.compat import prepare_torchvision
from gradleak.errors import UserError
from gradleak.models.base import MODELS, scaled
from gradleak.models.stems import STEMS, check_stem

if TYPE_CHECKING:
    from torchvision.models.resnet import BasicBlock, Bottleneck


class NoShortcut(nn.Module):
    """Stands where a block's shortcut was: adds nothing to the block's own output."""

    def forward(self, inputs: Tensor) -> Tensor:
        """A zero without dimensions, whatever comes in."""
        return inputs.new_zeros(())


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, global average pooling, one linear layer.

    `cut` is the position, counted from 0 over all stages, of the block whose shortcut is removed (Figure 9); -1 or
    None cuts none. The whole shortcut path goes: an identity, or a projection with its convolution and batch
    normalisation. All other weights are those of the uncut model of the same seed.
    """

    def __init__(
        self,
        kind: Literal["BasicBlock", "Bottleneck"],
        counts: tuple[int, ...],
        num_classes: int,
        resolution: int,
        width: float,
        stem: str = "cifar",
        cut: int | None = None,
    ) -> None:
        super().__init__()
        prepare_torchvision()
        from torchvision.models import resnet

        block: type[BasicBlock] | type[Bottleneck] = getattr(resnet, kind)
        check_stem(stem)
        channels = scaled(64, width)
        self.stem = STEMS[stem](channels)
        stages = []
        for index, count in enumerate(counts):
            planes = scaled(64 * 2**index, width)
            stages.append(_stage(block, channels, planes, count, stride=1 if index == 0 else 2))
            channels = planes * block.expansion
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(channels, num_classes)
        self.parts = {"stem": ["stem"], **{f"stage{i}": [f"stages.{i - 1}"] for i in range(1, len(counts) + 1)}}
        self.parts["head"] = ["fc"]
        blocks = [residual for stage in stages for residual in stage]
        if cut is not None and cut != -1:
            if isinstance(cut, bool) or not isinstance(cut, int) or not 0 <= cut < len(blocks):
                raise UserError(f"model option cut is {cut!r}; allowed: 0 to {len(blocks) - 1}, or -1 for none")
            blocks[cut].downsample = NoShortcut()
        self.skips = sum(not isinstance(residual.downsample, NoShortcut) for residual in blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        # A plain mean: adaptive pooling has no deterministic backward pass on CUDA.
        return self.fc(self.stages(self.stem(images)).mean(dim=(2, 3)))


def _stage(
    block: "type[BasicBlock] | type[Bottleneck]", channels: int, planes: int, count: int, stride: int
) -> nn.Sequential:
    out, downsample = planes * block.expansion, None
    if stride != 1 or channels != out:
        downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    first = block(channels, planes, stride, downsample)
    return nn.Sequential(first, *(block(out, planes) for _ in range(count - 1)))


MODELS.register("resnet18")(partial(ResNet, "BasicBlock", (2, 2, 2, 2)))
MODELS.register("resnet34")(partial(ResNet, "BasicBlock", (3, 4, 6, 3)))
MODELS.register("resnet50")(partial(ResNet, "Bottleneck", (3, 4, 6, 3)))
MODELS.register("resnet152")(partial(ResNet, "Bottleneck", (3, 8, 36, 3)))
