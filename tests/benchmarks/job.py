"""One measurement: what the driver hands to a worker process, and what the worker hands back.

Both workers import this file, each in its own environment, so it needs nothing but PyTorch. A job is a folder with
`job.json` (the settings) and `tensors.pt` (the problem); the worker adds `images.pt` and prints one line of JSON.
It does the jobs that its command line names, or else one for each line of standard input: it starts once then.
"""

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """What to run. `warm_up` iterations of a separate attack come first and are not measured.

    `trials` is how many copies of the problem are attacked at once (the peer takes one only); `seed` gives the start
    of the first of them, which is also `Problem.start`. `precision` is that of our side; the peer has float32.
    """

    samples: int
    iterations: int
    warm_up: int
    tv_weight: float
    lr: float
    seed: int
    threads: int
    device: str = "cpu"
    trials: int = 1
    precision: str = "float32"


@dataclass(frozen=True)
class Problem:
    """The model (parameters and buffers in module order), the shared gradient, and where the attack starts.

    `start` (N, 3, H, W) is in the units of the normalised image; `mean` and `std` (3,) are that normalisation.
    """

    parameters: list[Tensor]
    buffers: list[Tensor]
    gradient: list[Tensor]
    labels: Tensor
    start: Tensor
    mean: Tensor
    std: Tensor
    num_classes: int

    def save(self, folder: Path) -> None:
        """Write the problem into a job's folder."""
        torch.save(vars(self), folder / "tensors.pt")

    @classmethod
    def load(cls, folder: Path) -> "Problem":
        """Read the problem from a job's folder."""
        return cls(**torch.load(folder / "tensors.pt", weights_only=True))


class Clock:
    """Notes when each iteration begins and when the last one ends."""

    def __init__(self) -> None:
        self._ticks: list[float] = []

    def tick(self, *_: object) -> None:
        """Note the time; takes and ignores what a hook or a progress callback is given."""
        self._ticks.append(time.perf_counter())

    def seconds_per_iteration(self) -> float:
        """The median, so that one preempted iteration does not count."""
        return statistics.median(end - begin for begin, end in zip(self._ticks, self._ticks[1:], strict=False))


#: Runs (settings, problem, clock) and returns the images (N, 3, H, W) in [0, 1] and the lowest objective met.
Attack = Callable[[Settings, Problem, Clock], tuple[Tensor, float]]


def write_settings(folder: Path, settings: Settings) -> None:
    """Write the settings into a job's folder."""
    (folder / "job.json").write_text(json.dumps(asdict(settings)), encoding="utf-8")


def work(attack: Attack) -> None:
    """Be a worker: run the job in each folder that is named and print its measurement; nothing else is printed."""
    answers = sys.stdout
    for name in sys.argv[1:] or sys.stdin:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            measured = _measured(attack, Path(name.rstrip("\n")))
        print(json.dumps(measured), file=answers, flush=True)


def _measured(attack: Attack, folder: Path) -> dict[str, float | str]:
    settings = Settings(**json.loads((folder / "job.json").read_text(encoding="utf-8")))
    problem = Problem.load(folder)
    if settings.warm_up:
        attack(Settings(**{**asdict(settings), "iterations": settings.warm_up}), problem, Clock())
    clock, started = Clock(), time.perf_counter()
    images, objective = attack(settings, problem, clock)
    wall = time.perf_counter() - started
    torch.save(images, folder / "images.pt")
    seconds = {"iteration_s": clock.seconds_per_iteration(), "wall_s": wall}
    return {**seconds, "objective": objective, "torch": torch.__version__}
