"""A class-conditional residual generator for larger images, after Miyato and Koyama 2018."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gradleak.auxiliary.base import AUXILIARIES, Generator, TrainContext
from gradleak.auxiliary.gan import Gan
from gradleak.data.roles import PublicImages
from gradleak.specs import DatasetSpec

_START = 4


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain and offset depend on the class."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(num_classes, channels)
        self.offset = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.offset.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Normalise (n, C, H, W) by the batch, scale and shift by class."""
        return self.normalise(x) * self.gain(labels)[:, :, None, None] + self.offset(labels)[:, :, None, None]


class UpBlock(nn.Module):
    """Doubles the resolution: two convolutions beside a 1 x 1 convolution."""

    def __init__(self, before: int, after: int, num_classes: int) -> None:
        super().__init__()
        self.first_norm = ConditionalBatchNorm(before, num_classes)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second_norm = ConditionalBatchNorm(after, num_classes)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Map (n, before, H, W) to (n, after, 2H, 2W)."""
        y = self.first(_doubled(F.relu(self.first_norm(x, labels))))
        y = self.second(F.relu(self.second_norm(y, labels)))
        return y + _doubled(self.skip(x))


class ResganGenerator(Generator):
    """Residual blocks from 4 x 4 up, conditional batch normalisation in each, tanh at the end."""

    def __init__(self, latent_size: int, widths: list[int], num_classes: int) -> None:
        super().__init__()
        self.latent_size, self.resolution = latent_size, _START * 2 ** len(widths)
        self.start = nn.Linear(latent_size, widths[0] * _START**2)
        pairs = zip([widths[0], *widths[:-1]], widths, strict=True)
        self.blocks = nn.ModuleList([UpBlock(before, after, num_classes) for before, after in pairs])
        self.norm = nn.BatchNorm2d(widths[-1])
        self.image = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """See `Generator`."""
        x = self.start(latents).unflatten(1, (-1, _START, _START))
        for block in self.blocks:
            x = block(x, labels)
        return (self.image(F.relu(self.norm(x))).tanh() + 1) / 2


class ResganCritic(nn.Module):
    """Spectrally normalised residual blocks with a projection of the class (Miyato et al. 2018)."""

    def __init__(self, widths: list[int], num_classes: int) -> None:
        super().__init__()
        wide = widths[::-1]
        self.first = spectral_norm(nn.Conv2d(3, wide[0], 3, padding=1))
        pairs = zip([wide[0], *wide[:-1]], wide, strict=True)
        self.blocks = nn.ModuleList([DownBlock(before, after) for before, after in pairs])
        self.score = spectral_norm(nn.Linear(wide[-1], 1))
        self.project = spectral_norm(nn.Embedding(num_classes, wide[-1]))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """One logit (n,) per image (n, 3, H, W) in [0, 1] of class labels (n,)."""
        x = self.first(images * 2 - 1)
        for block in self.blocks:
            x = block(x)
        features = F.relu(x).sum(dim=(2, 3))
        return self.score(features).flatten() + (self.project(labels) * features).sum(dim=1)


class DownBlock(nn.Module):
    """Halves the resolution: two spectrally normalised convolutions beside a 1 x 1 convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(before, after, 3, padding=1))
        self.second = spectral_norm(nn.Conv2d(after, after, 3, padding=1))
        self.skip = spectral_norm(nn.Conv2d(before, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, before, H, W) to (n, after, H/2, W/2)."""
        y = self.second(F.relu(self.first(F.relu(x))))
        return F.avg_pool2d(y, 2) + self.skip(F.avg_pool2d(x, 2))


def _doubled(x: Tensor) -> Tensor:
    # Nearest neighbour by expansion: interpolation's backward pass is not deterministic on CUDA.
    n, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)


@AUXILIARIES.register("resgan")
class Resgan(Gan):
    """Conditional generator trained with the hinge loss.

    `channels` are those next to the image; they double with every halving, up to `most_channels`.
    """

    name: Literal["resgan"] = "resgan"
    beta1: float = Field(0.0, ge=0, lt=1)
    most_channels: int = Field(256, ge=4)

    @field_validator("dataset")
    @classmethod
    def _power_of_two(cls, dataset: DatasetSpec) -> DatasetSpec:
        if dataset.resolution not in (16, 32, 64, 128, 256):
            raise ValueError(f"resolution is {dataset.resolution}; this generator makes 16, 32, 64, 128 or 256 pixels")
        return dataset

    @property
    def widths(self) -> list[int]:
        """Channels from the layer at 4 x 4 to the one next to the image."""
        doublings = self.dataset.resolution.bit_length() - 3
        return [min(self.most_channels, self.channels * 2**i) for i in range(doublings)][::-1]

    def build(self, num_classes: int) -> ResganGenerator:
        """PyTorch's default initialisation, seeded."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return ResganGenerator(self.latent_size, self.widths, num_classes).eval()

    def train(self, public: PublicImages, context: TrainContext) -> Generator:
        """See `Auxiliary.train`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1)
            critic = ResganCritic(self.widths, public.num_classes)
        return self.fit(self.build(public.num_classes), critic, "hinge", public, context)
