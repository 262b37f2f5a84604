"""Swin Transformer (Liu et al. 2021) for images of 32 pixels and more, with a width multiplier (Sec. 6).

Blocks, patch merging and initial weights are torchvision's. What differs from its Swin-T: patches of 2x2 pixels instead
of 4x4 and windows of 4x4 patches instead of 7x7, so that a 32x32 image has 16x16 patches and every map fills its
windows. No fourth stage, whose 2x2 map would be smaller than a window. No stochastic depth; a plain mean as pooling,
because adaptive pooling has no deterministic backward pass on CUDA.
"""

from torch import Tensor, nn

from gradleak.compat import prepare_torchvision
from gradleak.errors import UserError
from gradleak.models.base import MODELS

_PATCH, _WINDOW = 2, 4
_DEPTHS, _HEADS = (2, 2, 6), (3, 6, 12)
_HEAD_CHANNELS = 32
# A map must be a whole number of windows in every stage: padding would let empty patches take part in attention.
_SMALLEST = _PATCH * _WINDOW * 2 ** (len(_DEPTHS) - 1)


@MODELS.register("swin")
class Swin(nn.Module):
    """Patch embedding, three stages of windowed self-attention with patch merging between, mean, one linear layer.

    `width` multiplies the channels of a head (32). The number of heads stays. Raises UserError for a resolution that
    is no multiple of 32.
    """

    def __init__(self, num_classes: int, resolution: int, width: float = 1.0) -> None:
        super().__init__()
        prepare_torchvision()
        from torchvision.models.swin_transformer import SwinTransformer

        if resolution % _SMALLEST:
            raise UserError(f"model 'swin': resolution is {resolution}; it must be a multiple of {_SMALLEST}")
        channels = _HEADS[0] * max(1, round(_HEAD_CHANNELS * width))
        body = SwinTransformer(
            patch_size=[_PATCH] * 2,
            embed_dim=channels,
            depths=list(_DEPTHS),
            num_heads=list(_HEADS),
            window_size=[_WINDOW] * 2,
            stochastic_depth_prob=0.0,
            num_classes=num_classes,
        )
        self.features, self.norm, self.fc = body.features, body.norm, body.head
        self.parts = {"stem": ["features.0"]}
        for stage in range(len(_DEPTHS)):
            # A stage's blocks, and the merging of patches after it.
            merging = [f"features.{2 * stage + 2}"] if stage + 1 < len(_DEPTHS) else []
            self.parts[f"stage{stage + 1}"] = [f"features.{2 * stage + 1}", *merging]
        self.parts["head"] = ["norm", "fc"]
        self.skips = 2 * sum(_DEPTHS)  # around attention and around the perceptron of every block

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        return self.fc(self.norm(self.features(images)).mean(dim=(1, 2)))
