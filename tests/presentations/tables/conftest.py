"""Invented results for tests of tables: two attacks, two batch sizes, two trials, two restarts, two images."""

from collections.abc import Callable

import pandas as pd
import pytest

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.presentations.read import parse_experiment

# LPIPS of the chosen restart, per cell and image. The other restart has 0.5 more.
CHOSEN = {
    "a1": (0.04, 0.06),
    "a2": (0.08, 0.10),
    "b1": (0.10, 0.30),
    "b2": (0.20, 0.40),
    "c1": (0.02, 0.02),
    "c2": (0.03, 0.03),
}
LABELS = {
    "a1": {"attack": "O", "dataset": "CIFAR10"},
    "a2": {"attack": "O", "dataset": "CIFAR10"},
    "b1": {"attack": "O", "dataset": "CIFAR10"},
    "b2": {"attack": "O", "dataset": "CIFAR10"},
    "c1": {"attack": "L", "dataset": "CIFAR10"},
    "c2": {"attack": "L", "dataset": "CIFAR10"},
}
STEPS = {"a": 1, "b": 2, "c": 1}


@pytest.fixture
def results() -> pd.DataFrame:
    rows = []
    for cell, values in CHOSEN.items():
        for restart, more in ((0, 0.5), (1, 0.0)):
            for image, lpips in enumerate(values):
                rows.append(
                    {
                        "cell_id": cell,
                        "restart": restart,
                        "chosen": restart == 1,
                        "image": image,
                        "client_steps": STEPS[cell[0]],
                        "lpips": lpips + more,
                        "psnr": 25.0,
                        "model_name": "resnet18",
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture
def data(results: pd.DataFrame) -> StudyData:
    return StudyData("test_study", results)


@pytest.fixture
def make_experiment() -> Callable[..., Experiment]:
    def make(*show: dict, labels: dict[str, dict] | None = None, title: str = "Test data") -> Experiment:
        cells = [{"cell_id": cell, "labels": values} for cell, values in (labels or LABELS).items()]
        return parse_experiment("exp", {"title": title, "show": list(show), "cells": cells}, "plan.json")

    return make
