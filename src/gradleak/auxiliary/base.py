"""What an auxiliary model is: its settings, how it is built, trained on public images, shown and judged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor, nn

from gradleak.frozen import Frozen, digest
from gradleak.registry import Registry
from gradleak.specs import DatasetSpec
from gradleak.stopping import never

if TYPE_CHECKING:
    from gradleak.data.roles import PublicImages, TuningImages

AUXILIARIES: Registry[type["Auxiliary"]] = Registry("auxiliary model", "gradleak.auxiliary")

#: A distance: (n, 3, H, W) and (n, 3, H, W) in [0, 1] to (n,).
PerImage = Callable[[Tensor, Tensor], Tensor]

#: Knowledge of the data distribution (Sec. 2.2, level 2): what any attack with an auxiliary model needs.
AUXILIARY_LEVEL = 2


@dataclass(frozen=True)
class TrainContext:
    """Where and how to train.

    Device, file of the state for resuming, a callback that counts steps, and what tells whether to save and end.
    """

    device: str = "cpu"
    state: Path | None = None
    save_every_s: float = 60.0
    progress: Callable[[int], None] | None = None
    stop: Callable[[], bool] = never


@dataclass(frozen=True)
class Samples:
    """Images (n, 3, H, W) in [0, 1] with a caption each, and labels (n,) that a generator was asked for, or None."""

    images: Tensor
    captions: list[str]
    labels: Tensor | None = None


class Generator(nn.Module, ABC):
    """Maps latent vectors to images. `latent_size` is the length of a latent vector, drawn from a standard normal."""

    latent_size: int
    resolution: int

    @abstractmethod
    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] of latents (n, latent_size) and labels int64 (n,), which it may ignore."""


class Auxiliary(Frozen, ABC):
    """One kind of auxiliary model: the settings that decide its weights, and its training.

    A kind adds its own settings as fields. `dataset` are the public images: those of its `train` split that are not set
    aside for tuning, never a victim.
    """

    name: str
    dataset: DatasetSpec
    seed: int = Field(0, ge=0)

    @property
    def id(self) -> str:
        """Hash of the whole content (16 hexadecimal digits)."""
        return digest(self.model_dump(mode="json"))

    @property
    def title(self) -> str:
        """A short name for files: kind, data set and resolution."""
        return f"{self.name}-{self.dataset.name}-{self.dataset.resolution}"

    @property
    def total_steps(self) -> int:
        """Training steps, for the progress bar (0 where nothing is trained)."""
        return 0

    def training_cost(self) -> float:
        """Estimated floating-point operations of the training (0 where nothing is trained)."""
        return 0.0

    @abstractmethod
    def build(self, num_classes: int) -> nn.Module:
        """The model without learned weights, in evaluation mode."""

    @abstractmethod
    def train(self, public: "PublicImages", context: TrainContext) -> nn.Module:
        """Train on public images and return the model, in evaluation mode, on the CPU."""

    @abstractmethod
    def samples(self, model: nn.Module, public: "PublicImages", count: int) -> Samples:
        """Pictures that show what the model has learned."""

    @abstractmethod
    def quality(
        self, model: nn.Module, public: "PublicImages", tuning: "TuningImages", lpips: PerImage
    ) -> dict[str, float]:
        """How good the model is, in numbers that a reader can judge, against images that it was not trained on."""


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers from a CPU generator, the same on every device."""
    return torch.randn(shape, generator=generator)


def some(count: int, size: int) -> list[int]:
    """At most `count` of `size` indices, ascending, drawn at random: data may lie class by class."""
    return sorted(torch.randperm(size, generator=torch.Generator().manual_seed(0))[:count].tolist())


def _parse(value: object) -> object:
    if isinstance(value, Auxiliary):
        return value
    if not isinstance(value, Mapping) or "name" not in value:
        raise ValueError("needs a 'name'; known: " + ", ".join(AUXILIARIES.names()))
    return AUXILIARIES[str(value["name"])].model_validate(dict(value))


#: A pydantic field that holds an auxiliary model of any registered kind.
AnyAuxiliary = Annotated[SerializeAsAny[Auxiliary], BeforeValidator(_parse)]


def parse_auxiliary(content: Any) -> Auxiliary:
    """An auxiliary model from its JSON form; raises pydantic's ValidationError or UserError."""
    parsed = _parse(content)
    assert isinstance(parsed, Auxiliary)
    return parsed
