"""Invented results for tests of figures: three attacks, three resolutions, three trials, pictures of noise."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.presentations.read import parse_experiment

VARIANTS = ["$G_O$", "$G_O + p_{TV}$", "$G_L$"]
RESOLUTIONS = [32, 64, 128]
TRIALS = 3


def picture(generator: np.random.Generator, size: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make_cells() -> list[dict]:
    return [
        {"cell_id": f"v{i}-r{resolution}-t{trial}", "labels": {"variant": variant}}
        for i, variant in enumerate(VARIANTS)
        for resolution in RESOLUTIONS
        for trial in range(TRIALS)
    ]


@pytest.fixture
def data() -> StudyData:
    """Trial t attacks image 10 - t; the LPIPS of variant i at resolution r is 0.05 (i + 1) log2(r / 16) + 0.01 t."""
    generator = np.random.default_rng(0)
    truths = {(r, t): picture(generator, r) for r in RESOLUTIONS for t in range(TRIALS)}
    results, images = [], []
    for cell in make_cells():
        i, resolution, trial = (int(part[1:]) for part in cell["cell_id"].split("-"))
        lpips = 0.05 * (i + 1) * np.log2(resolution / 16) + 0.01 * trial
        key = {"cell_id": cell["cell_id"], "image": 10 - trial, "label": 0, "lpips": lpips}
        results.append(key | {"restart": 0, "chosen": True, "dataset_resolution": resolution})
        pngs = {"truth_png": truths[resolution, trial], "reconstruction_png": picture(generator, resolution)}
        images.append(key | {"position": 0} | pngs)
    return StudyData("test_study", pd.DataFrame(results), pd.DataFrame(images))


@pytest.fixture
def make_experiment() -> Callable[..., Experiment]:
    def make(*show: dict, cells: list[dict] | None = None) -> Experiment:
        content = {"title": "Test data", "show": list(show), "cells": cells or make_cells()}
        return parse_experiment("exp", content, "plan.json")

    return make
