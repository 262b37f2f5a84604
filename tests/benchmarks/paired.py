"""The same clients attacked in two ways, trial by trial: what `precision.py` and `whitening.py` share."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from gradleak.archive.verify import plan_of, recompute
from gradleak.documents import read_yaml
from gradleak.engine.device import prepare_device
from gradleak.stages.session import Session
from gradleak.study.cell import Cell
from gradleak.study.config import Config

ROOT = Path(__file__).resolve().parents[2]
CONVNET = {"name": "convnet", "options": {"channels": 32, "stages": 2, "layers": 1, "kernel": 5, "norm": True}}


def cells(settings: Mapping[str, Any], tuned: str, trials: int, iterations: int, dataset: str) -> list[Cell]:
    """One cell per trial, with images of its own, test images 0 on, and the settings that a search found.

    `settings`: model, client (with `samples`), and what else a cell has.
    """
    found = read_yaml(ROOT / "workflow/tuned" / f"{tuned}.yaml")["attack"]
    content = {
        "dataset": {"name": dataset, "resolution": 32},
        "knowledge_level": 1,
        "attack": {**found, "descent": {**found["descent"], "iterations": iterations}},
        "seed": 0,
        **settings,
    }
    samples = settings["client"]["samples"]
    victims = [list(range(trial * samples, (trial + 1) * samples)) for trial in range(trials)]
    return [Cell.parse({**content, "victims": images}, tuned) for images in victims]


def measure(cells: Sequence[Cell], metrics: Sequence[str], config: Config) -> tuple[pd.DataFrame, float]:
    """The metrics of each trial, the mean over its images, in order; and the seconds of processor time of all."""
    prepare_device("cpu", config.threads, config.precision)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        rows = recompute(plan_of(list(cells), config), Path(folder), Session("cpu"))
    found = rows.groupby("cell_id")[list(metrics)].mean().loc[[cell.id for cell in cells]]
    return found.reset_index(drop=True), time.process_time() - begun


def interval(differences: pd.Series) -> tuple[float, float, float]:
    """Mean of paired differences, and the ends of its 95 % interval (Student's t)."""
    half = float(differences.sem() * stats.t.ppf(0.975, len(differences) - 1))
    mean = float(differences.mean())
    return mean, mean - half, mean + half
