"""A plain ConvNet whose every micro design is an option (Sec. 5.2.2): kernel, padding, bias, activation, pooling."""

from torch import Tensor, nn

from gradleak.errors import UserError
from gradleak.models.base import MODELS, scaled

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "none": nn.Identity}


@MODELS.register("convnet")
class ConvNet(nn.Module):
    """Stages of convolutions, each stage ended by max-pooling, then dropout and one linear layer.

    `channels` is the width of the first stage; every further stage doubles it. `padding` None keeps the size for
    odd kernels. `norm` adds batch normalisation after each convolution.
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
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UserError(f"model option activation is '{activation}'; known: {', '.join(ACTIVATIONS)}")
        pad = kernel // 2 if padding is None else padding
        parts: list[nn.Module] = []
        before, size = 3, resolution
        for stage in range(stages):
            out = scaled(channels * 2**stage, width)
            for _ in range(layers):
                parts.append(nn.Conv2d(before, out, kernel, padding=pad, bias=bias))
                if norm:
                    parts.append(nn.BatchNorm2d(out))
                parts.append(ACTIVATIONS[activation]())
                before, size = out, size + 2 * pad - kernel + 1
            if pool:
                parts.append(nn.MaxPool2d(2))
                size //= 2
            if size < 1:
                raise UserError(f"model 'convnet': a {resolution}x{resolution} image is too small here")
        self.features = nn.Sequential(*parts)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before * size * size, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, 3, H, W) to logits (n, classes)."""
        return self.fc(self.dropout(self.features(images).flatten(1)))
