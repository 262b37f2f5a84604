"""A quick calibration: what an arithmetic operation and a start cost on this machine, from a few short attacks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from scipy.optimize import lsq_linear

from gradleak.attacks.base import RunContext, Trial
from gradleak.attacks.gia_o import GiaO
from gradleak.engine.descent import DescentConfig
from gradleak.engine.device import prepare_device, resolve_device
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import build_model
from gradleak.specs import ClientSpec, ModelSpec
from gradleak.study.config import Config
from gradleak.study.cost import Cost, Throughput, forward_cost, iteration_starts, operations, recorded_throughput

_SECONDS = 3.0
_SHORT, _PROBED, _MOST = 2, 5, 2000  # iterations
_SIDE = 32

# Of what is recorded: each constant is positive, however the times of a busy machine lie.
_LEAST = 0.01


@dataclass(frozen=True)
class Problem:
    """T trials of N images each that are attacked in one pass: `trials` by kind of device."""

    model: ModelSpec
    samples: int
    trials: dict[str, int]

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.model.name} of width {self.model.width:g}, N={self.samples}"

    def cost(self, kind: str) -> Cost:
        """Of one iteration, in the units of `cost.cost`."""
        forward, trials = forward_cost(self.model, _SIDE), self.trials[kind]
        return Cost(operations(forward.operations, self.samples) * trials, iteration_starts(forward.started))


#: The first is bound by arithmetic, the second by starts; the others, in between, say how well two numbers do.
PROBLEMS = [
    Problem(ModelSpec(name="resnet18", options={"stem": "cifar"}), 4, {"cpu": 1, "cuda": 32}),
    Problem(ModelSpec(name="resnet18", width=0.125), 1, {"cpu": 1, "cuda": 1}),
    Problem(ModelSpec(name="resnet18", width=0.25), 4, {"cpu": 8, "cuda": 16}),
    Problem(ModelSpec(name="googlenet", width=0.125), 1, {"cpu": 1, "cuda": 16}),
]


@dataclass(frozen=True)
class Timing:
    """Seconds per iteration of a problem, as measured."""

    problem: str
    cost: Cost
    seconds: float


@dataclass(frozen=True)
class Calibration:
    """The throughput that fits the timings best."""

    throughput: Throughput
    timings: list[Timing]

    def lines(self) -> list[str]:
        """For the terminal: both numbers as `throughput.yaml` holds them, and how far each problem is off."""
        found = self.throughput
        lines = [f"measured here: flops_per_s {found.flops_per_s:.2e}, start_s {found.start_s:.2e}"]
        for timing in self.timings:
            off = found.seconds(timing.cost) / timing.seconds - 1
            lines.append(f"  {timing.problem}: {1000 * timing.seconds:.1f} ms per iteration, estimated {off:+.0%}")
        return lines


def calibrate(config: Config) -> Calibration:
    """Time attacks on `PROBLEMS` on this machine; takes some twenty seconds."""
    device = resolve_device(config.device)
    prepare_device(device, config.threads, config.precision)
    timings = [_time(problem, device) for problem in PROBLEMS]
    return Calibration(fitted(timings, recorded_throughput()[torch.device(device).type]), timings)


def fitted(timings: Sequence[Timing], recorded: Throughput) -> Throughput:
    """The two positive numbers for which the estimates are least off, relative to each timing, in least squares."""
    costs = [timing.cost for timing in timings]
    parts = [[cost.operations / recorded.flops_per_s, cost.started * recorded.start_s] for cost in costs]
    relative = np.array(parts) / np.array([[timing.seconds] for timing in timings])
    arithmetic, start = lsq_linear(relative, np.ones(len(timings)), bounds=(_LEAST, np.inf)).x
    return Throughput(recorded.flops_per_s / arithmetic, recorded.start_s * start, True, "measured on this machine")


def _time(problem: Problem, device: str) -> Timing:
    kind, samples = torch.device(device).type, problem.samples
    model = build_model(problem.model, 10, _SIDE, (0.5,) * 3, (0.25,) * 3)
    images = torch.rand(samples, 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(samples)
    update = local_update(model, images, labels, ClientSpec(samples=samples))
    shared = SharedUpdate(update, model, 0, samples, (3, _SIDE, _SIDE), 10, labels)

    def seconds(iterations: int) -> float:
        descent = DescentConfig(iterations=iterations, lr=0.01, patience=None)
        attack = GiaO(priors={"tv": 0.01}, init="uniform", descent=descent)
        trials: list[Trial[Any]] = [Trial(attack, shared, seed) for seed in range(problem.trials[kind])]
        begun = time.perf_counter()
        attack.run(trials, RunContext(device=device))
        return time.perf_counter() - begun

    seconds(_SHORT)
    short = seconds(_SHORT)

    def each(iterations: int) -> float:
        """Seconds of one more iteration: what comes before the first one cancels."""
        return max(seconds(_SHORT + iterations) - short, 1e-9) / iterations

    return Timing(problem.name, problem.cost(kind), each(min(_MOST, ceil(_SECONDS / each(_PROBED)))))
