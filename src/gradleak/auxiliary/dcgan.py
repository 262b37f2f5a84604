"""DCGAN (Radford et al. 2015): the generator that the paper uses for 32 x 32 images (Appx. B.I)."""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import field_validator
from torch import Tensor, nn

from gradleak.auxiliary.base import AUXILIARIES, Generator, Samples, TrainContext
from gradleak.auxiliary.gan import Gan
from gradleak.data.roles import PublicImages
from gradleak.specs import DatasetSpec


class DcganGenerator(Generator):
    """Transposed convolutions from 4 x 4 up, batch normalisation and ReLU between, tanh at the end."""

    def __init__(self, latent_size: int, channels: int, resolution: int) -> None:
        super().__init__()
        self.latent_size, self.resolution = latent_size, resolution
        widths = _widths(channels, resolution)[::-1]
        parts: list[nn.Module] = [nn.ConvTranspose2d(latent_size, widths[0], 4, bias=False)]
        for before, after in pairwise(widths):
            parts += [nn.BatchNorm2d(before), nn.ReLU()]
            parts.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
        parts += [nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.ConvTranspose2d(widths[-1], 3, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*parts)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """See `Generator`; labels are ignored."""
        return (self.layers(latents[:, :, None, None]).tanh() + 1) / 2


class DcganCritic(nn.Module):
    """The mirror image: strided convolutions with LeakyReLU down to 4 x 4, then one logit."""

    def __init__(self, channels: int, resolution: int) -> None:
        super().__init__()
        widths = _widths(channels, resolution)
        parts: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(widths):
            parts += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(after)]
            parts.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """One logit (n,) per image (n, 3, H, W) in [0, 1]; labels are ignored."""
        return self.layers(images * 2 - 1).flatten()


def _widths(channels: int, resolution: int) -> list[int]:
    # From the layer next to the image to the one at 4 x 4.
    return [channels * 2**i for i in range(resolution.bit_length() - 3)]


@AUXILIARIES.register("dcgan")
class Dcgan(Gan):
    """Unconditional generator trained with the non-saturating logistic loss.

    `channels` are those of the layer before the image; they double with every halving of the resolution.
    """

    name: Literal["dcgan"] = "dcgan"

    @field_validator("dataset")
    @classmethod
    def _power_of_two(cls, dataset: DatasetSpec) -> DatasetSpec:
        if dataset.resolution not in (16, 32, 64, 128):
            raise ValueError(f"resolution is {dataset.resolution}; a DCGAN makes 16, 32, 64 or 128 pixels")
        return dataset

    def build(self, num_classes: int) -> DcganGenerator:
        """Weights drawn from N(0, 0.02) as in the publication."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            generator = DcganGenerator(self.latent_size, self.channels, self.dataset.resolution)
            generator.apply(_initialise)
        return generator.eval()

    def train(self, public: PublicImages, context: TrainContext) -> Generator:
        """See `Auxiliary.train`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1)
            critic = DcganCritic(self.channels, self.dataset.resolution)
            critic.apply(_initialise)
        return self.fit(self.build(public.num_classes), critic, "logistic", public, context)

    def samples(self, model: nn.Module, public: PublicImages, count: int) -> Samples:
        """Unconditional: without captions and labels."""
        return Samples(super().samples(model, public, count).images, [""] * count)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
