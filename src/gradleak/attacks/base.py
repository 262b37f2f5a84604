"""What every attack declares: its configuration, the knowledge it needs, and how it is run."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gradleak.registry import Registry

if TYPE_CHECKING:
    import torch

    from gradleak.federated.shared_update import SharedUpdate

ATTACKS: Registry[type["Attack"]] = Registry("attack", "gradleak.attacks")


class AttackConfig(BaseModel):
    """Hyper-parameters that every attack has; an attack adds its own in a subclass named `Config`.

    `knowledge` is `wst` (the adversary knows the local training details and simulates them) or `bst` (it does not,
    and takes the update for one full-batch step), the worst and best case for the client in Sec. 4.1.2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    knowledge: Literal["wst", "bst"] = "bst"
    labels: Literal["known", "inferred"] = "known"
    restarts: int = Field(1, ge=1)

    @property
    def total_iterations(self) -> int:
        """Iterations of one restart over all its stages, for the estimate of costs."""
        raise NotImplementedError

    def origins(self) -> list[str]:
        """Modules of the registered parts (objectives, priors, ...) that this configuration names."""
        return []


@dataclass(frozen=True)
class Reconstruction:
    """What an attack returns for T trials of R restarts each.

    images: float (T, R, N, 3, H, W) in [0, 1]; objective: float64 (T, R), the value by which a restart is chosen;
    iterations: int (T, R), iterations run before each restart stopped.
    """

    images: "torch.Tensor"
    objective: "torch.Tensor"
    iterations: "torch.Tensor"


@dataclass(frozen=True)
class RunContext:
    """Where and how to run: device, folder of the states for resuming, and a callback that counts iterations."""

    device: str = "cpu"
    state: Path | None = None
    save_every_s: float = 60.0
    progress: Callable[[int], None] | None = None


class Attack(ABC):
    """One attack. Receives shared updates and nothing else: never ground truth, never the client."""

    Config: ClassVar[type[AttackConfig]]

    @classmethod
    @abstractmethod
    def level(cls, config: AttackConfig) -> int:
        """Knowledge level (Sec. 2.2, 0 to 5) that this attack needs with `config`."""

    @classmethod
    @abstractmethod
    def run(
        cls,
        config: AttackConfig,
        updates: "list[SharedUpdate]",
        seeds: list[int],
        context: RunContext,
    ) -> Reconstruction:
        """Attack T shared updates of one family, with one seed each (every random draw derives from it)."""
