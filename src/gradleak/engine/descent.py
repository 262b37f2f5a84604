"""The optimisation loop: Adam over T trials at once, with the choices that the literature makes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from gradleak.engine.base import Matcher, MovingMatcher, Priors
from gradleak.engine.capture import captured
from gradleak.errors import UserError
from gradleak.frozen import Frozen
from gradleak.resume import StateFile

# An improvement below this fraction does not count against the patience.
_RELATIVE_GAIN = 1e-4
_HOST_LOOKS_EVERY = 20


class Diverged(UserError):
    """The objective of a trial is no finite number any more."""


class DescentConfig(Frozen):
    """How the candidates are optimised. Learning rates are in units of the normalised image, as in the literature.

    `signed` uses the sign of the gradient (Geiping et al. 2020); `schedule` step multiplies the rate by 0.1 after
    3/8, 5/8 and 7/8 of the iterations, cosine lets it fall to 0; `box` keeps pixels in [0, 1]; `patience` stops a
    trial that many iterations after its last improvement. The cosine schedule is the default: it was a
    little ahead of the step schedule at equal iterations (docs/measurements.md).
    """

    iterations: int = Field(1000, ge=1, le=10_000_000)
    lr: float = Field(0.1, gt=0)
    schedule: Literal["constant", "step", "cosine"] = "cosine"
    signed: bool = True
    box: bool = True
    patience: int | None = Field(None, ge=1)

    def shape(self) -> "DescentConfig":
        """The settings that trials of one descent share: the number of iterations."""
        return DescentConfig(iterations=self.iterations)

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
        """Candidates of the variables. Differentiable."""
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
    """T trials of Adam. Every tensor of its state has the trial as its first dimension. Trials never mix."""

    def __init__(
        self,
        start: Tensor,
        space: SearchSpace,
        matcher: Matcher,
        priors: Priors,
        configs: DescentConfig | Sequence[DescentConfig],
    ) -> None:
        """`configs`: one for all trials, or one each; they agree in the number of iterations."""
        trials = len(start)
        self._configs = [configs] * trials if isinstance(configs, DescentConfig) else list(configs)
        assert len(self._configs) == trials
        assert len({config.iterations for config in self._configs}) == 1
        self._iterations = self._configs[0].iterations
        self._space, self._matcher, self._priors = space, matcher, priors
        self._device = str(start.device)
        options: dict[str, Any] = {"dtype": torch.float64, "device": start.device}
        self._signed, self._boxed = self._choice("signed", start), self._choice("box", start)
        patience = [config.patience or self._iterations for config in self._configs]
        self._patience = torch.tensor(patience, device=start.device)
        start = self._project(start)
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
            "rate": torch.zeros(trials, **options),
        }
        self._moving = matcher if isinstance(matcher, MovingMatcher) else None
        if self._moving is not None:
            self.tensors |= self._moving.state

    def run(self, store: StateFile | None = None, progress: Callable[[int], None] | None = None) -> Outcome:
        """Iterate to the end, from the stored state if there is one.

        Raises Diverged if a trial's objective stops being a number: a failed trial fails its job.
        """
        if store is not None:
            self.iteration = store.load(self.tensors)
            if self._moving is not None:
                self._moving.prepare()
        if progress is not None:
            progress(self.iteration)
        step: Callable[[], None] | None = None
        while self.iteration < self._iterations:
            rates = [config.rate(self.iteration) for config in self._configs]
            self.tensors["rate"].copy_(torch.tensor(rates, dtype=torch.float64))
            # Recorded with a rate: at rate 0 the variables stay, and a replay that ignores them would not show.
            step = step or captured(self._step, self.tensors, self._device)
            step()
            self.iteration += 1
            if self._moving is not None and self.iteration % self._moving.every(self._iterations) == 0:
                self._moving.move(self._space.decode(self.tensors["variables"]).detach())
                step = None  # what was recorded is of the matcher as it was
            if progress is not None:
                progress(1)
            if store is not None:
                store.stop_if_asked(self.tensors, self.iteration)
            if self.iteration % _HOST_LOOKS_EVERY == 0:
                self._look()
                if self._all_stopped():
                    break
                if store is not None:
                    store.save_if_due(self.tensors, self.iteration)
        self._look()
        if store is not None:
            store.save(self.tensors, self._iterations)
        state = self.tensors
        return Outcome(state["best"].cpu(), state["best_total"].cpu(), state["ran"].cpu())

    def _step(self) -> None:
        state = self.tensors
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
            moved = self._project(self._adam(_where(self._signed, gradient.sign(), gradient)))
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
        return state["variables"] - _wide(first, gradient) * state["first_moment"] / scale

    def _project(self, variables: Tensor) -> Tensor:
        return _where(self._boxed, self._space.project(variables), variables)

    def _choice(self, key: str, like: Tensor) -> bool | Tensor:
        """A yes or no that all trials share, or a mask (T,)."""
        values = [getattr(config, key) for config in self._configs]
        return values[0] if len(set(values)) == 1 else torch.tensor(values, device=like.device)

    def _active(self) -> Tensor:
        return self.tensors["since_mark"] < self._patience

    def _all_stopped(self) -> bool:
        return any(config.patience for config in self._configs) and not bool(self._active().any())

    def _look(self) -> None:
        failed = self.tensors["failed"].nonzero().flatten().tolist()
        if failed:
            raise Diverged(
                f"the objective of trial {failed[0]} is not a finite number at iteration {self.iteration} or before; "
                f"lower the attack's lr ({self._configs[failed[0]].lr}) or look at the update"
            )


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(-1, *(1,) * (like.dim() - 1))


def _where(choice: bool | Tensor, yes: Tensor, no: Tensor) -> Tensor:
    if isinstance(choice, bool):
        return yes if choice else no
    return torch.where(_wide(choice, yes), yes, no)
