"""What an attack is: its settings, the knowledge that it needs, and how it is run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, Self, TypeVar

from pydantic import Field

from gradleak.errors import UserError
from gradleak.frozen import Frozen
from gradleak.registry import Registry
from gradleak.stopping import never

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gradleak.auxiliary.base import Auxiliary
    from gradleak.federated.shared_update import SharedUpdate

ATTACKS: Registry[type["Attack"]] = Registry("attack", "gradleak.attacks")

#: The attack of a trial: a `Trial[GiaO]` is one of GIA-O.
AttackT = TypeVar("AttackT", bound="Attack", covariant=True)


@dataclass(frozen=True)
class Trial(Generic[AttackT]):
    """One shared update to attack, how, and the seed that every random draw derives from.

    point: where between the model that the server sent (0) and the one that it received (1) the gradient is matched.
    """

    attack: AttackT
    update: "SharedUpdate"
    seed: int
    point: float = 0.0


@dataclass(frozen=True)
class Reconstruction:
    """What an attack returns for T trials of R starts each (`Attack.starts`).

    images: float (T, R, N, 3, H, W) in [0, 1]; objective: float64 (T, R), the value by which a restart is chosen;
    iterations: int (T, R), iterations run before each restart stopped. points: float64 (T, R), where each start matched
    gradients in the end (`Trial.point`); None: all at 0. unattacked: trial -> why there was nothing to
    attack. Such a trial has grey images, objective NaN and no iterations.
    """

    images: "torch.Tensor"
    objective: "torch.Tensor"
    iterations: "torch.Tensor"
    points: "torch.Tensor | None" = None
    unattacked: Mapping[int, str] = field(default_factory=dict)


def _no_auxiliary(auxiliary: "Auxiliary") -> "nn.Module":
    raise UserError(f"auxiliary model '{auxiliary.title}' is not there; run `gradleak pretrain`")


@dataclass(frozen=True)
class RunContext:
    """Where and how to run.

    Device, folder of the states for resuming, a callback that counts iterations, a function that tells whether to save
    and end, and one that loads an auxiliary model with its learned weights.
    """

    device: str = "cpu"
    state: Path | None = None
    save_every_s: float = 60.0
    progress: Callable[[int], None] | None = None
    stop: Callable[[], bool] = never
    auxiliary: "Callable[[Auxiliary], nn.Module]" = _no_auxiliary


class Attack(Frozen, ABC):
    """One attack with its settings. It receives shared updates and nothing else: never ground truth, never the client.

    A subclass adds its settings as fields. Each becomes a column of the results, `attack_<setting>`.
    `knowledge` is `wst` (the adversary knows the local training details and simulates them) or `bst` (it does not,
    and takes the update for one full-batch step), the worst and best case for the client in Sec. 4.1.2.
    """

    name: str
    knowledge: Literal["wst", "bst"] = "bst"
    labels: Literal["known", "inferred"] = "known"
    restarts: int = Field(1, ge=1, le=10_000)

    @property
    @abstractmethod
    def level(self) -> int:
        """Knowledge level (Sec. 2.2, 0 to 5) that this attack needs."""

    @property
    @abstractmethod
    def total_iterations(self) -> int:
        """Iterations of one restart over all its stages, for the estimate of costs and for progress."""

    @property
    def points(self) -> tuple[float, ...]:
        """Where between the model sent (0) and the one received (1) starts of this attack may match gradients."""
        return (0.0,)

    @property
    def starts(self) -> int:
        """R, how many reconstructions of every update are made; the objective chooses among them."""
        return self.restarts

    @abstractmethod
    def run(self, trials: Sequence[Trial[Self]], context: RunContext) -> Reconstruction:
        """Attack T shared updates of one global model.

        The attacks of the trials are this one, or agree with it in their `batch_key`. Where `joins` allows it the
        models may be several, of one architecture.
        """

    def obstacle(self, trial: Trial[Self], context: RunContext) -> str | None:
        """Why there is nothing to attack in an update, in words; None where there is. See `SharedUpdate.fault`."""
        return trial.update.fault

    def batch_key(self) -> str:
        """Text that is equal where attacks may run together, each on its own trials; by default, all settings."""
        return self.model_dump_json()

    def joins(self, model: "nn.Module", images: int, device: str) -> bool:
        """Whether one run for several checkpoints of the model's architecture is faster than a run for each.

        `images` is the largest number of images optimised for one checkpoint: its trials times starts times N.
        """
        return False

    def origins(self) -> list[str]:
        """Modules of the attack and of the registered parts (objectives, priors, ...) that it names."""
        return [type(self).__module__]

    def matched(self) -> tuple[str, ...] | None:
        """The gradient view: blocks, modules or parameters that the attack uses; None is the whole update."""
        return None

    def auxiliaries(self) -> "list[Auxiliary]":
        """Models that the adversary trains on public images beforehand."""
        return []

    def cost_factor(self) -> float:
        """Operations per iteration, relative to those of matching alone, for the estimate of costs."""
        return 1.0
