"""The steps of `gpu.py`, one of which a process runs: its argument is a `Run` as JSON."""

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import gpu_convolutions
import pandas as pd
import torch
from gpu import HERE, KIT, Run
from job import Problem as PeerProblem
from job import Settings, write_settings

from gradleak.archive.verify import plan_of, recompute
from gradleak.attacks.gia_o import ImageSpace
from gradleak.engine import descent
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Evaluation, Targets
from gradleak.engine.capture import captured
from gradleak.engine.descent import Descent, DescentConfig
from gradleak.engine.device import check_precision, device_facts, prepare_device, trials_that_fit
from gradleak.errors import UserError
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import build_model
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import WeightedPriors
from gradleak.specs import ClientSpec, ModelSpec
from gradleak.stages.session import Session
from gradleak.study.cell import Cell
from gradleak.study.config import load_config
from gradleak.study.cost import forward_flops, operations

THREADS = 4
CLASSES, SIDE = 10, 32
MEAN, STD = (0.5,) * 3, (0.25,) * 3
DIFFERENT = 4  # clients; further trials attack them again
RESNET = ModelSpec(name="resnet18", options={"stem": "cifar"})
CONVNET = ModelSpec(name="convnet", options={"channels": 32, "stages": 2, "layers": 1, "kernel": 5, "norm": True})


@dataclass(frozen=True)
class Case:
    """A model, N images of each client, and T trials."""

    model: ModelSpec
    samples: int
    trials: int

    def __str__(self) -> str:
        return f"{self.model.name} N={self.samples} T={self.trials}"


CASES = [
    Case(CONVNET, 4, 8),
    Case(RESNET, 1, 2),
    Case(RESNET, 4, 3),
    Case(ModelSpec(name="convnet64"), 1, 4),
    *(Case(ModelSpec(name=name), 1, 2) for name in ("vgg11", "densenet43", "googlenet")),
    Case(ModelSpec(name="inception_v3", width=0.5), 1, 2),
]
#: N and T of which `speed` tells.
GRID = [(1, 1), (1, 16), (1, 64), (4, 1), (4, 16), (4, 64), (16, 16), (50, 4)]
#: The attack of `strength`.
ATTACK = {"name": "gia-o", "objective": "cosine", "priors": {"tv": 0.00172}, "init": "normal"}
DESCENT = {"lr": 0.264, "schedule": "cosine", "signed": True, "box": True}


class Problem:
    """What the server sees of a case's clients, and candidates (T, N, 3, H, W), on a device and in a precision.

    Both are computed on the CPU in float32 first, so that they are the same everywhere.
    """

    def __init__(self, case: Case, device: str, dtype: torch.dtype = torch.float32) -> None:
        model = build_model(case.model, CLASSES, SIDE, MEAN, STD)
        random = torch.Generator().manual_seed(0)
        labels = torch.arange(case.samples) % CLASSES
        updates = []
        for _ in range(min(case.trials, DIFFERENT)):
            images = torch.rand(case.samples, 3, SIDE, SIDE, generator=random)
            updates.append(local_update(model, images, labels, ClientSpec(samples=case.samples)))
        candidates = torch.rand(case.trials, case.samples, 3, SIDE, SIDE, generator=random)
        self.model, self.candidates = model.to(device, dtype), candidates.to(device, dtype)
        clients = [
            SharedUpdate(
                update={name: value.detach().to(device, dtype) for name, value in update.items()},
                model=self.model,
                round=0,
                samples=case.samples,
                image_shape=(3, SIDE, SIDE),
                num_classes=CLASSES,
                labels=labels.to(device),
            )
            for update in updates
        ]
        self.shared = list(itertools.islice(itertools.cycle(clients), case.trials))
        targets = Targets.stack(self.shared, [labels.to(device)] * case.trials, device)
        self._matcher = ActivationMatcher(self.model, targets, OBJECTIVES["cosine"])
        self._priors = WeightedPriors({"tv": 0.01}, self.shared)

    def evaluate(self) -> Evaluation:
        """Objective and gradient of the candidates."""
        return self._matcher(self.candidates, self._priors)

    def descent(self, iterations: int) -> Descent:
        """A descent on the images, as GIA-O runs it."""
        start = torch.randn(self.candidates.shape, generator=torch.Generator().manual_seed(1))
        config = DescentConfig(iterations=iterations, lr=0.1)
        return Descent(start.to(self.candidates), ImageSpace(self.model), self._matcher, self._priors, config)


def facts(run: Run) -> None:
    run.note("python", sys.version.split()[0])
    run.note("torch", torch.__version__)
    run.note("machine", device_facts(run.device))
    if run.device == "cuda":
        run.note("free_gib", round(torch.cuda.mem_get_info()[0] / 2**30, 1))
    size = 512 if run.small else 8192
    x = torch.randn(size, size, device=run.device)
    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        run.note(f"matmul_tflops tf32={tf32}", round(2 * size**3 / run.seconds(lambda: x @ x, 5) / 1e12, 2))


def _precisions(run: Run) -> list[str]:
    """Those that the device has."""
    found = []
    for precision in ("float32", "tf32", "bf16"):
        with contextlib.suppress(UserError):
            check_precision(run.device, precision)
            found.append(precision)
    return found


def agree(run: Run) -> None:
    """Largest error of a trial's objective; largest relative error of its gradient; share of equal signs in it."""
    for case in CASES[:2] if run.small else CASES:
        prepare_device("cpu", THREADS, "float32")
        exact = Problem(case, "cpu", torch.float64).evaluate()
        for precision in _precisions(run):
            with run.case(name := f"{case} {precision}"):
                prepare_device(run.device, THREADS, precision)
                found = Problem(case, run.device).evaluate()
                gradient, true = found.gradient.double().cpu().flatten(1), exact.gradient.flatten(1)
                errors = {
                    "objective": float((found.objective.cpu() - exact.objective).abs().max()),
                    "gradient": float(((gradient - true).norm(dim=1) / true.norm(dim=1)).max()),
                    "equal_signs": float((gradient.sign() == true.sign()).double().mean()),
                }
                run.note(name, {key: float(f"{value:.4g}") for key, value in errors.items()})


def capture(run: Run) -> None:
    """The best objectives after 30 iterations have to be equal."""
    prepare_device(run.device, THREADS, "float32")
    for case in CASES[:1] if run.small else CASES[:3]:
        with run.case(str(case)):
            problem = Problem(case, run.device)
            found: dict[str, torch.Tensor] = {}
            seconds: dict[str, float] = {}
            for way, function in {"captured": captured, "called": lambda step, state, device: step}.items():
                begun = time.perf_counter()
                with mock.patch.object(descent, "captured", function):
                    found[way] = problem.descent(iterations=30).run().objective
                seconds[way] = round(time.perf_counter() - begun, 2)
            apart = float((found["captured"] - found["called"]).abs().max())
            run.note(str(case), {"equal": apart == 0, "largest_difference": apart, "seconds": seconds})


def convolutions(run: Run) -> None:
    gpu_convolutions.measure(run)


def speed(run: Run) -> None:
    """Of attacks of 1,000 iterations; captured where that can be."""
    models = [RESNET] if run.small else [RESNET, CONVNET]
    grid = GRID[:1] if run.small else GRID
    for precision, model, (samples, trials) in itertools.product(_precisions(run), models, grid):
        if run.left < 10:
            return
        case = Case(model, samples, trials)
        with run.case(name := f"{case} {precision}"):
            prepare_device(run.device, THREADS, precision)
            run.note(name, _speed(case, run))


def _speed(case: Case, run: Run) -> dict[str, Any]:
    on_gpu = run.device == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    problem = Problem(case, run.device)
    fit = trials_that_fit(problem.model, (3, SIDE, SIDE), case.samples, 1)
    attack = problem.descent(iterations=1000)
    attack.tensors["rate"].fill_(0.1)
    each = run.seconds(captured(attack._step, attack.tensors, run.device), 5 if run.small else 20)
    tflops = operations(forward_flops(case.model, SIDE), case.samples) * case.trials / each / 1e12
    return {
        **_pace(each, case.trials),
        "tflops": round(tflops, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu else None,
        "trials_that_fit": fit,
    }


def _pace(iteration_s: float, trials: int) -> dict[str, float]:
    """Milliseconds per iteration, and reconstructions per hour at 1,000 iterations."""
    return {"ms": round(1e3 * iteration_s, 2), "per_hour": round(3.6 * trials / iteration_s)}


def peer(run: Run) -> None:
    """On ResNet-18, by the worker of `against_breaching.py`."""
    for samples in (1, 4):
        with run.case(name := f"N={samples}"), tempfile.TemporaryDirectory() as folder:
            _peer_problem(samples).save(Path(folder))
            settings = Settings(samples, 5 if run.small else 150, 3, 0.01, 0.1, 0, THREADS, run.device)
            write_settings(Path(folder), settings)
            done = subprocess.run(
                [sys.executable, str(HERE / "peer_worker.py"), folder], text=True, capture_output=True, timeout=run.left
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-600:])
            run.note(name, _pace(json.loads(done.stdout.splitlines()[-1])["iteration_s"], trials=1))


def _peer_problem(samples: int) -> PeerProblem:
    problem = Problem(Case(RESNET, samples, 1), "cpu")
    (shared,) = problem.shared
    return PeerProblem(
        parameters=[parameter.detach() for parameter in problem.model.parameters()],
        buffers=list(problem.model.network.buffers()),
        gradient=list(shared.update.values()),
        labels=shared.labels,
        start=torch.randn(samples, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)),
        mean=torch.tensor(MEAN),
        std=torch.tensor(STD),
        num_classes=CLASSES,
    )


def strength(run: Run) -> None:
    """LPIPS and PSNR of GIA-O, row by row, cheapest first; what there is no time for is left out."""
    precision = "tf32" if run.device == "cuda" else "float32"
    config = load_config(KIT / "config.yaml").model_copy(update={"device": run.device, "precision": precision})
    prepare_device(run.device, THREADS, precision)
    frames: list[pd.DataFrame] = []
    slowest = 0.0
    for name, cells in itertools.islice(_rows(run.small), 2 if run.small else None):
        if run.left < 1.3 * slowest:
            run.note(name, "no time")
            continue
        begun = time.perf_counter()
        with run.case(name), tempfile.TemporaryDirectory() as folder:
            frames.append(recompute(plan_of(cells, config), Path(folder), Session(run.device)))
            seconds = time.perf_counter() - begun
            slowest = max(slowest, seconds)
            run.note(name, {**_closeness(frames[-1]), "seconds": round(seconds, 1)})
            pd.concat(frames).to_parquet(Path(run.out) / "strength.parquet")


def _rows(small: bool) -> Iterator[tuple[str, list[Cell]]]:
    """Table 1 at two rates of the client, Table 5 up to twenty images, Table 1 on CIFAR-100: name and cells of each."""
    for rate, steps in itertools.product((0.1, 0.01), (1, 2, 4, 6, 8)):
        yield f"cifar10 N=4 U={steps} rate={rate}", _cells(small, samples=4, lr=rate, epochs=steps)
    for samples in (5, 10, 15, 20):
        yield f"cifar10 N={samples} U=1", _cells(small, samples=samples, lr=0.1)
    for steps in (1, 2, 4, 6, 8):
        yield f"cifar100 N=8 U={steps} rate=0.1", _cells(small, "cifar100", samples=8, lr=0.1, epochs=steps)


def _cells(small: bool, dataset: str = "cifar10", **client: Any) -> list[Cell]:
    """A cell per trial: the trials attack clients with images of their own."""
    content = {
        "dataset": {"name": dataset, "resolution": SIDE},
        "model": RESNET.model_dump(include={"name", "options"}),
        "client": {"bn_mode": "eval", **client},
        "knowledge_level": 1,
        "attack": {**ATTACK, "descent": {**DESCENT, "iterations": 3 if small else 2000}},
        "seed": 0,
    }
    samples, trials = client["samples"], 1 if small else 10
    victims = [list(range(trial * samples, (trial + 1) * samples)) for trial in range(trials)]
    return [Cell.parse({**content, "victims": images}, "strength") for images in victims]


def _closeness(rows: pd.DataFrame) -> dict[str, float | None]:
    """Means over the cells' chosen reconstructions, and the standard deviation of the cells' LPIPS."""
    means = rows[rows["chosen"]].groupby("cell_id")[["lpips", "psnr"]].mean()
    lpips, psnr = means["lpips"], means["psnr"]
    spread = round(float(lpips.std()), 4) if len(means) > 1 else None
    found = {"lpips": round(float(lpips.mean()), 4), "sd": spread, "psnr": round(float(psnr.mean()), 2)}
    return {**found, "cells": len(means)}


if __name__ == "__main__":
    current = Run(**json.loads(sys.argv[1]))
    globals()[current.step](current)
    sys.exit(current.failed)
