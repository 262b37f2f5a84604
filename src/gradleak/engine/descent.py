"""The optimisation loop: Adam over T trials at once, with the choices that the literature makes."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradleak.engine.base import Matcher, Priors
from gradleak.engine.capture import captured
from gradleak.files import atomic

# An improvement below this fraction does not count against the patience.
_RELATIVE_GAIN = 1e-4
_HOST_LOOKS_EVERY = 20


class DescentConfig(BaseModel):
    """How the candidates are optimised. Learning rates are in units of the normalised image, as in the literature.

    `signed` uses the sign of the gradient (Geiping et al. 2020); `schedule` step multiplies the rate by 0.1 after
    3/8, 5/8 and 7/8 of the iterations, cosine lets it fall to 0; `box` keeps pixels in [0, 1]; `patience` stops a
    trial that many iterations after its last improvement. The cosine schedule is the default: it was a
    little ahead of the step schedule at equal iterations (docs/measurements.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    iterations: int = Field(1000, ge=1)
    lr: float = Field(0.1, gt=0)
    schedule: Literal["constant", "step", "cosine"] = "cosine"
    signed: bool = True
    box: bool = True
    patience: int | None = Field(None, ge=1)

    def rate(self, iteration: int) -> float:
        """Learning rate of an iteration counted from 0."""
        done = iteration / self.iterations
        if self.schedule == "step":
            return self.lr * 0.1 ** sum(done >= edge for edge in (3 / 8, 5 / 8, 7 / 8))
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        return self.lr


class SearchSpace(Protocol):
    """What is optimised (T, ...) and the candidates (T, N, 3, H, W) in [0, 1] that it stands for."""

    def decode(self, variables: Tensor) -> Tensor:
        """Candidates of the variables; differentiable."""
        ...

    def project(self, variables: Tensor) -> Tensor:
        """The nearest variables that the box constraint allows."""
        ...


@dataclass(frozen=True)
class Outcome:
    """Best variables by total objective (T, ...), that total, float64 (T,), and iterations run (T,), on the CPU."""

    variables: Tensor
    objective: Tensor
    iterations: Tensor


class Descent:
    """T trials of Adam. Every tensor of its state has the trial as its first dimension; trials never mix."""

    def __init__(self, start: Tensor, space: SearchSpace, matcher: Matcher, priors: Priors, config: DescentConfig):
        self._config, self._space, self._matcher, self._priors = config, space, matcher, priors
        self._device = str(start.device)
        trials = len(start)
        options: dict[str, Any] = {"dtype": torch.float64, "device": start.device}
        self.iteration = 0
        self.tensors = {
            "variables": start.detach().clone(),
            "first_moment": torch.zeros_like(start),
            "second_moment": torch.zeros_like(start),
            "step": torch.zeros((), **options),
            "best": start.detach().clone(),
            "best_total": torch.full((trials,), math.inf, **options),
            "mark": torch.full((trials,), math.inf, **options),
            "since_mark": torch.zeros(trials, dtype=torch.int64, device=start.device),
            "ran": torch.zeros(trials, dtype=torch.int64, device=start.device),
            "failed": torch.zeros(trials, dtype=torch.bool, device=start.device),
            "rate": torch.zeros((), **options),
        }

    def run(self, store: "StateFile | None" = None, progress: Callable[[int], None] | None = None) -> Outcome:
        """Iterate to the end, from the stored state if there is one.

        Raises RuntimeError if a trial's objective stops being a number: a failed trial fails its job.
        """
        if store is not None:
            self.iteration = store.load(self.tensors)
        if progress is not None:
            progress(self.iteration)
        snapshot = {name: value.clone() for name, value in self.tensors.items()}
        step = captured(self._step, lambda: self._restore(snapshot), self._device)
        while self.iteration < self._config.iterations:
            self.tensors["rate"].fill_(self._config.rate(self.iteration))
            step()
            self.iteration += 1
            if progress is not None:
                progress(1)
            if self.iteration % _HOST_LOOKS_EVERY == 0:
                self._look()
                if self._all_stopped():
                    break
                if store is not None:
                    store.save_if_due(self.tensors, self.iteration)
        self._look()
        if store is not None:
            store.save(self.tensors, self._config.iterations)
        state = self.tensors
        return Outcome(state["best"].cpu(), state["best_total"].cpu(), state["ran"].cpu())

    def _step(self) -> None:
        state, config = self.tensors, self._config
        with torch.enable_grad():
            variables = state["variables"].detach().requires_grad_()
            candidates = self._space.decode(variables)
        evaluation = self._matcher(candidates.detach(), self._priors)
        (gradient,) = torch.autograd.grad(candidates, variables, evaluation.gradient)
        with torch.no_grad():
            total = evaluation.objective + evaluation.prior.double()
            active = self._active()
            state["failed"].logical_or_(~total.isfinite())
            better = active & (total < state["best_total"])
            state["best"].copy_(torch.where(_wide(better, gradient), state["variables"], state["best"]))
            state["best_total"].copy_(torch.where(better, total, state["best_total"]))
            gained = total < state["mark"] - _RELATIVE_GAIN * state["mark"].abs()
            gained |= state["mark"].isinf()
            gained &= active  # a stopped trial stays stopped, whatever the others do
            state["mark"].copy_(torch.where(gained, total, state["mark"]))
            state["since_mark"].copy_(torch.where(gained, 0, state["since_mark"] + 1))
            state["ran"].add_(active)
            moved = self._adam(gradient.sign() if config.signed else gradient)
            if config.box:
                moved = self._space.project(moved)
            state["variables"].copy_(torch.where(_wide(active, gradient), moved, state["variables"]))

    def _adam(self, gradient: Tensor) -> Tensor:
        # Adam (Kingma and Ba 2015) with beta 0.9, 0.999, written on preallocated tensors so that a CUDA graph can
        # replay it and a state file can restore it.
        state = self.tensors
        state["step"].add_(1)
        state["first_moment"].lerp_(gradient, 0.1)
        state["second_moment"].lerp_(gradient * gradient, 0.001)
        first = (state["rate"] / (1 - 0.9 ** state["step"])).to(gradient.dtype)
        second = (1 - 0.999 ** state["step"]).to(gradient.dtype)
        scale = (state["second_moment"] / second).sqrt_().add_(1e-8)
        return state["variables"] - first * state["first_moment"] / scale

    def _active(self) -> Tensor:
        if self._config.patience is None:
            return torch.ones_like(self.tensors["failed"])
        return self.tensors["since_mark"] < self._config.patience

    def _all_stopped(self) -> bool:
        return self._config.patience is not None and not bool(self._active().any())

    def _look(self) -> None:
        failed = self.tensors["failed"].nonzero().flatten().tolist()
        if failed:
            raise RuntimeError(
                f"the objective of trial {failed[0]} is not a finite number at iteration {self.iteration} or before; "
                f"lower the attack's lr ({self._config.lr}) or look at the update"
            )

    def _restore(self, snapshot: dict[str, Tensor]) -> None:
        for name, value in snapshot.items():
            self.tensors[name].copy_(value)


class StateFile:
    """Where a descent keeps its state, so that a killed job goes on where it was and gives the same bytes.

    `identity` names what the state belongs to; a file with another identity is ignored.
    """

    def __init__(self, path: Path, identity: str, every_s: float) -> None:
        self._path, self._identity, self._every_s = path, identity, every_s
        self._saved = time.monotonic()

    def load(self, tensors: dict[str, Tensor]) -> int:
        """Fill the tensors from the file and return its iteration, or leave them and return 0."""
        if not self._path.exists():
            return 0
        with safe_open(self._path, framework="pt") as stream:
            facts = json.loads(stream.metadata()["gradleak"])
            if facts["identity"] != self._identity:
                return 0
            for name, value in tensors.items():
                value.copy_(stream.get_tensor(name))
        return int(facts["iteration"])

    def save_if_due(self, tensors: dict[str, Tensor], iteration: int) -> None:
        """Save if the last save is longer ago than the interval."""
        if time.monotonic() - self._saved >= self._every_s:
            self.save(tensors, iteration)

    def save(self, tensors: dict[str, Tensor], iteration: int) -> None:
        """Save atomically."""
        facts = json.dumps({"identity": self._identity, "iteration": iteration})
        with atomic(self._path) as temporary:
            content = {name: value.cpu().contiguous() for name, value in tensors.items()}
            save_file(content, temporary, metadata={"gradleak": facts})
        self._saved = time.monotonic()


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(-1, *(1,) * (like.dim() - 1))
