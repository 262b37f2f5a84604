"""What generators share: samples and their quality; and the training of those that learn against a critic."""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gradleak.auxiliary.base import Auxiliary, Generator, PerImage, Samples, TrainContext, draw
from gradleak.auxiliary.quality import QUALITY_SAMPLES, generator_quality
from gradleak.auxiliary.training import training_steps
from gradleak.data.pool import ImagePool
from gradleak.data.roles import PublicImages, TuningImages
from gradleak.resume import training_tensors

Loss = Literal["logistic", "hinge"]


class GeneratorAuxiliary(Auxiliary):
    """What all generators have in common: how samples are drawn and judged."""

    def samples(self, model: nn.Module, public: PublicImages, count: int) -> Samples:
        """Images of seeded latents, the public images' classes in turn."""
        assert isinstance(model, Generator)
        labels = torch.tensor(public.classes)[torch.arange(count) % len(public.classes)]
        latents = draw(torch.Generator().manual_seed(self.seed), count, model.latent_size)
        with torch.no_grad():
            images = torch.cat([model(*part) for part in zip(latents.split(64), labels.split(64), strict=True)])
        return Samples(images, [public.class_names[int(label)] for label in labels], labels)

    def quality(
        self, model: nn.Module, public: PublicImages, tuning: TuningImages, lpips: PerImage
    ) -> dict[str, float]:
        """See `generator_quality`."""
        return generator_quality(self.samples(model, public, QUALITY_SAMPLES), public, tuning, lpips)


class Gan(GeneratorAuxiliary):
    """A generator that learns against a critic: Adam with beta1, a moving average of its weights, flipped images.

    The defaults of rates and beta1 are those of Radford et al. 2015.
    """

    latent_size: int = Field(128, ge=2)
    channels: int = Field(64, ge=4)
    steps: int = Field(20_000, ge=1)
    batch_size: int = Field(64, ge=2)
    lr: float = Field(2e-4, gt=0)
    beta1: float = Field(0.5, ge=0, lt=1)
    average: float = Field(0.995, ge=0, lt=1)
    flip: bool = True

    @property
    def total_steps(self) -> int:
        """Training steps."""
        return self.steps

    def training_cost(self) -> float:
        """Operations: about a dozen passes of a network of some 0.6 MFLOP per channel squared over 1024 pixels."""
        pixels = self.dataset.resolution**2 / 1024
        return 12 * 1e4 * self.channels**2 * pixels * self.batch_size * self.steps

    def fit(
        self, generator: Generator, critic: nn.Module, loss: Loss, public: PublicImages, context: TrainContext
    ) -> Generator:
        """Train both networks and return the moving average of the generator, in evaluation mode, on the CPU.

        The critic maps images in [0, 1] and labels to one logit per image. Every random draw is seeded by the settings
        and the step, so that a resumed training gives the same weights.
        """
        device = context.device
        generator, critic = generator.to(device).train(), critic.to(device).train()
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        settings = {"lr": self.lr, "betas": (self.beta1, 0.999)}
        by_generator = torch.optim.Adam(generator.parameters(), **settings)  # type: ignore[arg-type]
        by_critic = torch.optim.Adam(critic.parameters(), **settings)  # type: ignore[arg-type]
        modules = {"generator": generator, "critic": critic, "average": average}
        tensors = training_tensors(modules, {"by_generator": by_generator, "by_critic": by_critic})
        pool = ImagePool(public)
        for step, random in training_steps(self, self.steps, tensors, context):
            real, wanted = pool.take(torch.randint(public.size, (self.batch_size,), generator=random))
            real, wanted = real.to(device), wanted.to(device)
            if self.flip:
                mirrored = torch.rand(len(real), generator=random) < 0.5
                real = torch.where(mirrored.to(device).view(-1, 1, 1, 1), real.flip(-1), real)
            latents = draw(random, self.batch_size, self.latent_size).to(device)
            fake = generator(latents, wanted)
            by_critic.zero_grad()
            _critic_loss(loss, critic(real, wanted), critic(fake.detach(), wanted)).backward()
            by_critic.step()
            by_generator.zero_grad()
            _generator_loss(loss, critic(fake, wanted)).backward()
            by_generator.step()
            _follow(average, generator, min(self.average, (step + 1) / (step + 10)))
        return average.cpu()


def _critic_loss(loss: Loss, real: Tensor, fake: Tensor) -> Tensor:
    if loss == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _generator_loss(loss: Loss, fake: Tensor) -> Tensor:
    return -fake.mean() if loss == "hinge" else F.softplus(-fake).mean()


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    for mine, its in zip(average.parameters(), model.parameters(), strict=True):
        mine.lerp_(its, 1 - keep)
    for own, current in zip(average.buffers(), model.buffers(), strict=True):
        own.copy_(current)
