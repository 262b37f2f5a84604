"""A plain ConvNet whose every micro design is an option (Sec. 5.2.2): kernel, padding, bias, activation, pooling."""

from functools import partial

from torch import Tensor, nn

from gradleak.errors import UserError
from gradleak.models.base import MODELS, scaled
from gradleak.models.options import check_range

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "none": nn.Identity}


@MODELS.register("convnet")
class ConvNet(nn.Module):
    """Stages of convolutions, each stage ended by max-pooling, then dropout and one linear layer.

    `channels` is the width of the first stage. Every further stage doubles it. `layout` replaces `stages` and
    `layers` by a text such as "1 2 2 P3": a convolution with that multiple of `channels`, or max-pooling over windows
    of that size. `padding` None keeps the size for odd kernels. `norm` adds batch normalisation after each
    convolution. `bias` is that of the convolutions, `fc_bias` that of the linear layer, `pool` False leaves all
    pooling out. Dropout acts in training mode only, and a client's gradient is computed in evaluation mode.
    """

    def __init__(
        self,
        num_classes: int,
        resolution: int,
        width: float = 1.0,
        channels: int = 32,
        stages: int = 3,
        layers: int = 2,
        kernel: int = 3,
        padding: int | None = None,
        bias: bool = True,
        norm: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        pool: bool = True,
        layout: str | None = None,
        fc_bias: bool = True,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UserError(f"model option activation is '{activation}'; known: {', '.join(ACTIVATIONS)}")
        check_range(
            "convnet",
            channels=(channels, 1, 4096),
            stages=(stages, 0, 10),
            layers=(layers, 0, 100),
            kernel=(kernel, 1, 2 * resolution),
            padding=(0 if padding is None else padding, 0, 2 * resolution),
        )
        pad = kernel // 2 if padding is None else padding
        steps = _staged(stages, layers) if layout is None else _parsed(layout)
        parts: list[nn.Module] = []
        self.parts: dict[str, list[str]] = {}
        before, size = 3, resolution
        for multiple, window in steps:
            if window:
                if pool:
                    parts.append(nn.MaxPool2d(window))
                    size //= window
            else:
                out = scaled(channels * multiple, width)
                paths = self.parts[f"conv{len(self.parts) + 1}"] = [f"features.{len(parts)}"]
                parts.append(nn.Conv2d(before, out, kernel, padding=pad, bias=bias))
                if norm:
                    paths.append(f"features.{len(parts)}")
                    parts.append(nn.BatchNorm2d(out))
                parts.append(ACTIVATIONS[activation]())
                before, size = out, size + 2 * pad - kernel + 1
            if size < 1:
                raise UserError(f"model 'convnet': a {resolution}x{resolution} image is too small here")
        self.features = nn.Sequential(*parts)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before * size * size, num_classes, bias=fc_bias)
        self.parts["head"] = ["fc"]

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        return self.fc(self.dropout(self.features(images).flatten(1)))


# A step is a convolution (multiple of the channels, 0) or a max-pooling (0, window).
def _staged(stages: int, layers: int) -> list[tuple[int, int]]:
    return [step for stage in range(stages) for step in [(2**stage, 0)] * layers + [(0, 2)]]


def _parsed(layout: str) -> list[tuple[int, int]]:
    steps = []
    for token in str(layout).split():
        number = token.removeprefix("P")
        if not number.isdecimal() or int(number) < 1:
            raise UserError(f"model option layout has '{token}'; known: channel multiples (2) and pooling (P3)")
        steps.append((0, int(number)) if token != number else (int(number), 0))
    if not any(multiple for multiple, _ in steps):
        raise UserError(f"model option layout is '{layout}'; it needs at least one convolution, as in '1 2 2 P3'")
    return steps


# Table 4's "None": the 64-channel ConvNet of Geiping et al. 2020 (the paper's reference 26), which has two
# max-poolings and 3x3 kernels with padding 1. As Sec. 5.2.2 says, with a dropout layer, and with the components under
# study only: without its batch normalisation.
MODELS.register("convnet64")(partial(ConvNet, channels=64, layout="1 2 2 4 4 4 P3 4 4 P3", padding=1, dropout=0.5))
