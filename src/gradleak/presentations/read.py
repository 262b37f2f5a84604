"""Reads what presentations show: the experiments of plan.json, results.parquet and images.parquet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gradleak.analysis.experiment import Experiment
from gradleak.errors import UserError
from gradleak.presentations.base import PresentationSpec, of_columns, output_names, parse_spec
from gradleak.study.reused import read_reused, reused_cells

RESULT_COLUMNS = ["cell_id", "restart", "chosen", "image", "lpips"]

IMAGE_COLUMNS = ["cell_id", "image", "position", "truth_png", "reconstruction_png", "lpips"]


@dataclass(frozen=True)
class ShownExperiment(Experiment):
    """An experiment with the presentations that its study asks for."""

    show: tuple[PresentationSpec, ...] = ()


def read_plan(path: Path) -> tuple[str, dict[str, ShownExperiment]]:
    """Read plan.json: the study's name and its experiments, whose `show` entries are validated.

    Raises UserError that names the file and key.
    """
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(plan, dict) or not isinstance(plan.get("experiments"), dict) or "study" not in plan:
        raise UserError(f"{path}: a plan needs the keys 'study' and 'experiments'")
    columns = plan.get("columns", {})
    return str(plan["study"]), {
        name: parse_experiment(name, content, str(path), columns) for name, content in plan["experiments"].items()
    }


def read_title(path: Path) -> str:
    """The study's title in plan.json, or its name where there is none; for a plan that `read_plan` accepts."""
    plan = json.loads(path.read_text(encoding="utf-8"))
    return str(plan.get("title") or plan["study"])


def read_taken_over(path: Path) -> frozenset[str]:
    """Ids of the cells that plan.json takes over from archives; for a plan that `read_plan` accepts."""
    return reused_cells(read_reused(json.loads(path.read_text(encoding="utf-8"))))


def parse_experiment(
    name: str, content: object, where: str, columns: Mapping[str, Mapping[str, Any]] | None = None
) -> ShownExperiment:
    """One entry of a plan's `experiments`; `columns`: the plan's. Raises UserError that names `where` and the key."""
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
        rows.append({"cell_id": str(cell["cell_id"]), **cell.get("labels", {})})
    if not rows:
        raise UserError(f"{where}: has no cells")
    usual = of_columns(columns or {})
    show = tuple(parse_spec(entry, f"{where}: show[{i}]", usual) for i, entry in enumerate(content["show"]))
    output_names(name, show, where)
    cells = pd.DataFrame(rows, dtype=object)
    return ShownExperiment(name, content["title"], _paper(content.get("paper")), cells, show)


def _paper(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)


def read_table(path: Path, required: list[str]) -> pd.DataFrame:
    """Read one Parquet file; raises UserError where it cannot be read or lacks a required column.

    Not `gradleak.parquet.read_parquet`: that module brings the plan, the models and torch along, and an edit
    of a model must not redraw a table.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise UserError(f"{path}: lacks the column '{missing[0]}'; has: {', '.join(map(str, table.columns))}")
    return table
