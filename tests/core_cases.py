"""Small models, clients and targets in float64, and the command line in-process: what tests of the core share."""

import contextlib
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from gradleak.cli import main
from gradleak.engine.base import Targets
from gradleak.federated.client import batch_statistics, drawn_order, local_update
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.base import Classifier, batch_norm_layers, build_model, set_bn_mode
from gradleak.specs import ClientSpec, ModelSpec
from gradleak.stages.session import Session
from gradleak.study.cell import Cell
from gradleak.study.config import Config

torch.set_num_threads(1)

MEAN, STD = (0.49, 0.39, 0.35), (0.31, 0.26, 0.27)
CLASSES = 10


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_of(
    name: str, resolution: int = 16, bn_mode: str = "eval", width: float = 1.0, seed: int = 0, **options: Any
) -> Classifier:
    """A model in float64 whose batch normalisation is no identity, as after some training."""
    spec = ModelSpec(name=name, width=width, init_seed=seed, options=options)
    model = build_model(spec, CLASSES, resolution, MEAN, STD).double()
    generator = random(seed + 1)
    for layer in batch_norm_layers(model).values():
        for tensor, low, high in (
            (layer.weight, 0.5, 1.5),
            (layer.bias, -0.3, 0.3),
            (layer.running_mean, -0.2, 0.2),
            (layer.running_var, 0.5, 1.5),
        ):
            tensor.data.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator, dtype=torch.float64))
    set_bn_mode(model, bn_mode)
    return model


def images_of(*shape: int, resolution: int = 16, seed: int = 0) -> Tensor:
    """Random images (*shape, 3, resolution, resolution) in [0, 1], float64."""
    return torch.rand(*shape, 3, resolution, resolution, generator=random(seed), dtype=torch.float64)


def labels_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(CLASSES, shape, generator=random(seed))


@dataclass
class Problem:
    """T clients of one model: what they share, the stacked targets, and candidates to evaluate."""

    model: nn.Module
    updates: list[SharedUpdate]
    targets: Targets
    victims: Tensor
    candidates: Tensor


def problem_of(
    model: nn.Module, trials: int, samples: int, client: ClientSpec | None = None, resolution: int = 16
) -> Problem:
    client = client or ClientSpec(samples=samples)
    victims, labels = images_of(trials, samples, resolution=resolution, seed=10), labels_of(trials, samples, seed=11)
    updates = [
        SharedUpdate(
            update=local_update(model, victims[t], labels[t], client, drawn_order(client, random(t))),
            model=model,
            round=0,
            samples=samples,
            image_shape=(3, resolution, resolution),
            num_classes=CLASSES,
            labels=labels[t],
            training=LocalTraining.of(client),
            batch_statistics=batch_statistics(model, victims[t]) or None,
        )
        for t in range(trials)
    ]
    targets = Targets.stack(updates, list(labels), "cpu")
    return Problem(model, updates, targets, victims, images_of(trials, samples, resolution=resolution, seed=12))


def targets_of(update: dict[str, Tensor], labels: Tensor) -> Targets:
    """Targets of stacked updates, parameter name -> (T, ...), and labels (T, N)."""
    norm2 = [value.double().flatten(1).square().sum(dim=1) for value in update.values()]
    return Targets(update, labels, torch.stack(norm2, dim=1))


def no_priors(images: Tensor, moments: Callable[[], object]) -> Tensor:
    return torch.zeros(len(images), dtype=images.dtype)


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest relative difference over trials, |found - expected| / |expected| with the Euclidean norm."""
    difference = (found - expected).flatten(1).norm(dim=1)
    return float((difference / expected.flatten(1).norm(dim=1)).max())


def run_alone(cell: Cell, cache: Path, out: Path) -> pd.DataFrame:
    """Run one cell as `gradleak attack` does; returns its rows."""
    from gradleak.stages.single import run_cell

    run_cell(cell, Config(cache=cache, device="cpu"), out, Session())
    return pd.read_parquet(out / "result.parquet")


@dataclass
class Ran:
    code: int
    out: str
    err: str


def gradleak(*arguments: object) -> Ran:
    """Run the command line in this process as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    before, code = sys.argv, 0
    deterministic = torch.are_deterministic_algorithms_enabled()
    sys.argv = ["gradleak", *(str(argument) for argument in arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
        torch.use_deterministic_algorithms(deterministic)
    return Ran(code, out.getvalue(), err.getvalue())


def documented_columns() -> dict[str, re.Pattern[str]]:
    """The columns of results.parquet in the table of docs/architecture.md; `<key>` stands for any key."""
    text = (Path(__file__).parents[1] / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.split("## Columns of `results.parquet`")[1].split("\n## ")[0]
    first = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    names = [name for cell in first for name in re.findall(r"`([a-z_<>]+)`", cell)]
    return {name: re.compile(name.replace("<key>", r"\w+")) for name in names}
