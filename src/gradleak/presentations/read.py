"""Reads what presentations show: the experiments of plan.json, results.parquet and images.parquet."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gradleak.analysis.experiment import Baseline, Experiment
from gradleak.errors import UserError
from gradleak.parquet import read_parquet
from gradleak.presentations.base import Presentation, of_columns, parse_presentation
from gradleak.study.outline import Outline

RESULT_COLUMNS = ["cell_id", "restart", "chosen", "image", "lpips"]

IMAGE_COLUMNS = ["cell_id", "image", "position", "truth_png", "reconstruction_png", "lpips"]


@dataclass(frozen=True)
class ShownExperiment(Experiment):
    """An experiment with the presentations that its study asks for."""

    show: tuple[Presentation, ...] = ()


def read_plan(path: Path) -> tuple[Outline, dict[str, ShownExperiment]]:
    """Read plan.json, and its experiments, whose `show` entries are validated.

    Raises UserError that names the file and key.
    """
    plan = Outline.read(path)
    return plan, {
        name: parse_experiment(name, content, str(path), plan.columns) for name, content in plan.experiments.items()
    }


def parse_experiment(
    name: str, content: object, where: str, columns: Mapping[str, Mapping[str, Any]] | None = None
) -> ShownExperiment:
    """One entry of a plan's `experiments`; `columns`: the plan's.

    Raises UserError that names `where` and the key, or the file that two entries of `show` would write.
    """
    where = f"{where}: experiment '{name}'"
    if not isinstance(content, dict):
        raise UserError(f"{where}: must be a mapping")
    for key, kind in {"title": str, "show": list, "cells": list}.items():
        if not isinstance(content.get(key), kind):
            raise UserError(f"{where}: key '{key}' must be a {kind.__name__} (found {content.get(key)!r})")
    rows = []
    for cell in content["cells"]:
        if not isinstance(cell, dict) or "cell_id" not in cell:
            raise UserError(f"{where}: every cell needs a 'cell_id' (found {cell!r})")
        rows.append({"cell_id": str(cell["cell_id"]), **_labels(cell.get("labels", {}), where)})
    if not rows:
        raise UserError(f"{where}: has no cells")
    usual = of_columns(columns or {})
    show = tuple(parse_presentation(entry, f"{where}: show[{i}]", usual) for i, entry in enumerate(content["show"]))
    counts = Counter(file for entry in show for file in entry.files(name))
    if twice := sorted(file for file, count in counts.items() if count > 1):
        raise UserError(f"{where}: two entries of 'show' write {twice[0]}; give one of them a 'suffix'")
    cells = pd.DataFrame(rows, dtype=object)
    baseline = content.get("baseline")
    compared = None if baseline is None else Baseline.parse(baseline, f"{where}: baseline")
    return ShownExperiment(name, content["title"], _paper(content.get("paper")), cells, compared, show)


def _labels(labels: object, where: str) -> dict[str, Any]:
    """The labels of a cell. Raises UserError unless they are a mapping of names to single values."""
    if not isinstance(labels, dict):
        raise UserError(f"{where}: labels must be a mapping of names to values (found {labels!r})")
    for name, value in labels.items():
        if name == "cell_id" or not isinstance(value, str | int | float | None):
            raise UserError(f"{where}: label '{name}' must have another name, or one value (found {value!r})")
    return labels


def _paper(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)


def read_table(path: Path, required: list[str]) -> pd.DataFrame:
    """Read one Parquet file; raises UserError where it cannot be read or lacks a required column."""
    table = read_parquet(path)
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise UserError(f"{path}: lacks the column '{missing[0]}'; has: {', '.join(map(str, table.columns))}")
    return table
