"""DenseNet-121 (Huang et al. 2017) with a CIFAR or an ImageNet stem and a width multiplier.

Dense layers and transitions are torchvision's. Two things differ from torchvision's network: the weights keep
PyTorch's default initialisation, and the CIFAR stem is one 3x3 convolution with stride 1 and no max-pooling, so that a
32x32 image reaches the last dense block at 4x4. The width multiplies the growth rate and the stem's channels.
"""

from collections import OrderedDict

from torch import Tensor, nn

from gradleak.compat import prepare_torchvision
from gradleak.models.base import MODELS, scaled
from gradleak.models.stems import STEMS, check_size, check_stem

_LAYERS = (6, 12, 24, 16)
_GROWTH, _BOTTLENECK = 32, 4


@MODELS.register("densenet121")
class DenseNet121(nn.Module):
    """Stem, four dense blocks with transitions that halve channels and size, pooling, one linear layer."""

    def __init__(self, num_classes: int, resolution: int, width: float = 1.0, stem: str = "cifar") -> None:
        super().__init__()
        prepare_torchvision()
        from torchvision.models.densenet import _DenseBlock, _Transition

        check_stem(stem)
        check_size("densenet121", resolution, 8 if stem == "cifar" else 32)
        growth, channels = scaled(_GROWTH, width), scaled(2 * _GROWTH, width)
        self.stem = STEMS[stem](channels)
        body: OrderedDict[str, nn.Module] = OrderedDict()
        self.parts = {"stem": ["stem"]}
        for index, layers in enumerate(_LAYERS, start=1):
            body[f"block{index}"] = _DenseBlock(layers, channels, _BOTTLENECK, growth, drop_rate=0.0)
            self.parts[f"block{index}"] = [f"body.block{index}"]
            channels += layers * growth
            if index < len(_LAYERS):
                after = max(1, channels // 2)
                body[f"transition{index}"] = _Transition(channels, after)
                self.parts[f"transition{index}"] = [f"body.transition{index}"]
                channels = after
        body["norm"], body["relu"] = nn.BatchNorm2d(channels), nn.ReLU()
        self.body = nn.Sequential(body)
        self.fc = nn.Linear(channels, num_classes)
        self.parts["head"] = ["body.norm", "fc"]
        # Layer l of a block gets the block's input and l - 1 outputs, the layer after the block all n + 1 of them;
        # one each comes from right before: 0 + 1 + ... + n.
        self.skips = sum(layers * (layers + 1) // 2 for layers in _LAYERS)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        return self.fc(self.body(self.stem(images)).mean(dim=(2, 3)))
