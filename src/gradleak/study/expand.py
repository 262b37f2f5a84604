"""A study: named experiments, each expanded from explicit lists into cells."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from gradleak.errors import UserError, first_error
from gradleak.frozen import Frozen, Scalar
from gradleak.study.cell import Cell
from gradleak.study.config import read_yaml
from gradleak.study.nested import assign, copied
from gradleak.study.settings import TunedSettings


class Trials(Frozen):
    """Which victims: trial i of `count` attacks the N test images from index first + i N on.

    Each trial is run with `seeds` different seeds. With `wrap`, indices go on from 0 where
    the split ends, so that large batches of a small victim set can have several trials.
    """

    count: int = Field(1, ge=1)
    seeds: int = Field(1, ge=1)
    first: int = Field(0, ge=0)
    wrap: int | None = Field(None, ge=1)


class Point(Frozen):
    """One point of an axis: cell keys to set (dotted paths) and labels for tables and figures."""

    model_config = ConfigDict(allow_inf_nan=True)  # of labels: an epsilon may be infinite

    set: dict[str, Any] = Field({})
    labels: dict[str, Scalar] = Field({})


class Block(Point):
    """A product of axes over a base; an axis is `{key: [values]}` or a list of points."""

    axes: list[dict[str, list[Any]] | list[Point]] = Field([])
    trials: Trials | None = None


class ExperimentSpec(Frozen):
    """What one table or figure of the paper needs, and how it is shown; `note`: how it differs from the paper's."""

    title: str
    paper: str
    note: str = ""
    cells: list[Block]
    show: list[dict[str, Any]]


class StudySpec(Frozen):
    """The content of a study file; `note`: what is smaller than in the paper, for readers of its results."""

    title: str
    note: str = ""
    defaults: dict[str, Any]
    trials: Trials = Trials()
    experiments: dict[str, ExperimentSpec] = Field(min_length=1)


@dataclass(frozen=True)
class Experiment:
    """An experiment whose blocks are expanded: each cell with its labels."""

    title: str
    paper: str
    show: list[dict[str, Any]]
    cells: list[tuple[Cell, dict[str, Scalar]]] = field(default_factory=list)
    note: str = ""

    def content(self) -> dict[str, Any]:
        """The experiment as `plan.json` holds it."""
        return {
            "title": self.title,
            "paper": self.paper,
            "note": self.note,
            "show": self.show,
            "cells": [{"cell_id": cell.id, "labels": labels} for cell, labels in self.cells],
        }


@dataclass(frozen=True)
class Study:
    """A validated study: its experiments, whose cells may be shared."""

    name: str
    title: str
    experiments: dict[str, Experiment]
    note: str = ""

    def cells(self) -> list[Cell]:
        """All distinct cells, in the order in which experiments first name them."""
        found: dict[str, Cell] = {}
        for experiment in self.experiments.values():
            for cell, _ in experiment.cells:
                found.setdefault(cell.id, cell)
        return list(found.values())


def load_study(path: Path) -> Study:
    """Read, validate and expand a study file; raises UserError naming the file, the experiment and the key.

    Where `attack.tuned` names a search's output, `../tuned/<name>.yaml` beside the study's folder, its settings are
    put under those that the study gives.
    """
    try:
        spec = StudySpec.model_validate(read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error)}") from None
    experiments = {}
    tuned = TunedSettings(path.parent / ".." / "tuned")
    for name, experiment in spec.experiments.items():
        where = f"{path}: experiments.{name}"
        cells = [pair for block in experiment.cells for pair in _expand(spec, block, tuned, where)]
        if not cells:
            raise UserError(f"{path}: experiments.{name}: has no cells")
        experiments[name] = Experiment(
            experiment.title, experiment.paper, experiment.show, cells, _paragraph(experiment.note)
        )
    return Study(path.stem, spec.title, experiments, _paragraph(spec.note))


def study_path(study: str) -> Path:
    """The file of a study, by name (in `workflow/studies`) or by path; raises UserError listing what there is."""
    path = Path(study)
    if path.suffix in (".yaml", ".yml"):
        return path
    folder = Path("workflow/studies")
    path = folder / f"{study}.yaml"
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml"))) or f"none in {folder}"
        raise UserError(f"unknown study '{study}'; known: {known}")
    return path


def _paragraph(text: str) -> str:
    return " ".join(text.split())


def _expand(
    spec: StudySpec, block: Block, tuned: TunedSettings, where: str
) -> Iterator[tuple[Cell, dict[str, Scalar]]]:
    axes = [_points(axis, where) for axis in block.axes]
    for combination in itertools.product(*axes):
        labels: dict[str, Scalar] = dict(block.labels)
        for point in combination:
            labels |= point.labels
        content = _content(spec.defaults, [block.set, *(point.set for point in combination)], tuned, where)
        trials = block.trials or spec.trials
        for key in ("victims", "seed"):
            if key in content:
                raise UserError(f"{where}: '{key}' is set by 'trials' (count, seeds, first), not as a key of cells")
        client = content.get("client", {})
        if not isinstance(client, dict):
            raise UserError(f"{where}: client must be a mapping (found {client!r})")
        samples = client.get("samples", 1)
        if not isinstance(samples, int) or samples < 1:
            raise UserError(f"{where}: client.samples must be a whole number from 1 up (found {samples!r})")
        for trial in range(trials.count):
            start = trials.first + trial * samples
            victims = [index % trials.wrap if trials.wrap else index for index in range(start, start + samples)]
            for seed in range(trials.seeds):
                cell = {**content, "victims": victims, "seed": seed}
                yield Cell.parse(cell, f"{where} ({labels})"), labels


def _content(defaults: dict[str, Any], steps: list[dict[str, Any]], tuned: TunedSettings, where: str) -> dict[str, Any]:
    """The keys of a cell: `defaults`, then each step's settings in turn.

    Tuned settings go under the mapping `attack` that the study starts from, so that a path set later replaces what it
    names, as everywhere.
    """
    content: dict[str, Any] = copied(defaults)
    for step in steps:
        assign(content, step, where)
    attack = content.get("attack")
    if not isinstance(attack, dict) or "tuned" not in attack:
        return content
    name, family = attack.pop("tuned"), attack.get("name")
    if name is None:
        return content

    def under(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return tuned.under(value if family is None else {**value, "name": family}, name, where)

    content = copied(defaults) | {"attack": under(defaults.get("attack", {}))}
    for step in steps:
        assign(content, {path: under(value) if path == "attack" else value for path, value in step.items()}, where)
    content["attack"].pop("tuned", None)
    return content


def _points(axis: dict[str, list[Any]] | list[Point], where: str) -> list[Point]:
    if isinstance(axis, list):
        return axis
    if len(axis) != 1:
        raise UserError(f"{where}: an axis names one key, found {sorted(axis)}; use a list of points for several")
    ((key, values),) = axis.items()
    return [Point(set={key: value}) for value in values]
