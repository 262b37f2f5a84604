"""A study: named experiments, each expanded from explicit lists into cells."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradleak.errors import UserError
from gradleak.frozen import Scalar
from gradleak.names import EXPERIMENTS_RESERVED, STUDIES_RESERVED, check_name, check_names
from gradleak.study.cell import Cell
from gradleak.study.nested import assign, copied, merged
from gradleak.study.settings import FOLDERS, AttackSettings
from gradleak.study.spec import Axis, Block, ExperimentSpec, Jobs, LabelledAxis, NamedAxis, Point, StudySpec, read_study

#: The study of a config that names none.
DEFAULT_STUDY = "quick"

#: Most cells of a study, and most images that one block of an experiment attacks.
MOST_CELLS, MOST_IMAGES = 100_000, 1_000_000


@dataclass(frozen=True)
class Experiment:
    """An experiment whose blocks are expanded: each cell with its labels. baseline: what it compares with."""

    title: str
    paper: str
    show: list[dict[str, Any]]
    cells: list[tuple[Cell, dict[str, Scalar]]]
    note: str = ""
    baseline: dict[str, Any] | None = None

    def content(self) -> dict[str, Any]:
        """The experiment as `plan.json` holds it."""
        return {
            "title": self.title,
            "paper": self.paper,
            "note": self.note,
            **({"baseline": self.baseline} if self.baseline is not None else {}),
            "show": self.show,
            "cells": [{"cell_id": cell.id, "labels": labels} for cell, labels in self.cells],
        }


@dataclass(frozen=True)
class Study:
    """A validated study: its experiments, whose cells may be shared, and how its attacks are cut into jobs."""

    name: str
    title: str
    experiments: dict[str, Experiment]
    note: str = ""
    jobs: Jobs = field(default_factory=Jobs)

    def cells(self) -> list[Cell]:
        """All distinct cells, in the order in which experiments first name them."""
        found: dict[str, Cell] = {}
        for experiment in self.experiments.values():
            for cell, _ in experiment.cells:
                found.setdefault(cell.id, cell)
        return list(found.values())


def load_study(path: Path) -> Study:
    """Read, validate and expand a study file; raises UserError naming the file, the experiment and the key.

    Beside the study's folder lie `experiments.yaml`, with what studies share, and the folders `attacks` and `tuned`
    with settings of attacks that `attack.published` and `attack.tuned` name. Any of them may be missing.
    """
    spec = read_study(path)
    check_names(spec.experiments, f"{path}: experiment", EXPERIMENTS_RESERVED)
    _check_size(spec, path)
    settings = AttackSettings(path.parent / "..")
    experiments = {}
    for name, experiment in spec.experiments.items():
        where = f"{path}: experiments.{name}"
        cells = [pair for block in experiment.cells for pair in _expand(spec, experiment, block, settings, where)]
        if not cells:
            raise UserError(f"{where}: has no cells")
        experiments[name] = Experiment(
            *(experiment.title, experiment.paper, experiment.show, cells, _paragraph(experiment.note)),
            baseline=experiment.baseline,
        )
    name = check_name(path.stem, f"{path}: study", STUDIES_RESERVED)
    return Study(name, spec.title, experiments, _paragraph(spec.note), spec.jobs)


def _check_size(spec: StudySpec, path: Path) -> None:
    """Raise UserError, before anything is expanded, for a study of more cells than can be planned."""
    counts = {
        name: sum(_count(spec, experiment, block, f"{path}: experiments.{name}") for block in experiment.cells)
        for name, experiment in spec.experiments.items()
    }
    if sum(counts.values()) > MOST_CELLS:
        largest = max(counts, key=lambda name: counts[name])
        raise UserError(
            f"{path}: has {sum(counts.values()):,} cells, {counts[largest]:,} of them in experiments.{largest}; "
            f"at most {MOST_CELLS:,}: cut axes or trials, or make several studies of it"
        )


def _count(spec: StudySpec, experiment: ExperimentSpec, block: Block, where: str) -> int:
    trials = block.trials or experiment.trials or spec.trials
    axes = experiment.axes if block.axes is None else block.axes
    points = math.prod(len(_points(axis, spec.axes, where)) for axis in axes or [])
    return points * trials.count * trials.seeds


def study_path(study: str) -> Path:
    """The file of a study, by name (in `workflow/studies`) or by path; raises UserError listing what there is."""
    path = Path(study)
    if path.suffix in (".yaml", ".yml"):
        check_name(path.stem, f"{path}: study", STUDIES_RESERVED)
        return path
    folder = Path("workflow/studies")
    path = folder / f"{study}.yaml"
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml"))) or f"none in {folder}"
        raise UserError(f"unknown study '{study}'; known: {known}")
    return path


def run_name(study: str, run: str | None) -> str:
    """The name of a run's folders: `run` of the settings, or the study's. Raises UserError as `study_path` does."""
    return run or study_path(study).stem


def _paragraph(text: str) -> str:
    return " ".join(text.split())


def _expand(
    spec: StudySpec, experiment: ExperimentSpec, block: Block, settings: AttackSettings, where: str
) -> Iterator[tuple[Cell, dict[str, Scalar]]]:
    axes = experiment.axes if block.axes is None else block.axes
    trials = block.trials or experiment.trials or spec.trials
    images = 0
    for combination in itertools.product(*(_points(axis, spec.axes, where) for axis in axes or [])):
        steps = [experiment, block, *combination]
        labels = {name: label for step in steps for name, label in step.labels.items()}
        content = _content(spec.defaults, [step.set for step in steps], settings, where)
        for key in ("victims", "seed"):
            if key in content:
                raise UserError(f"{where}: '{key}' is set by 'trials' (count, seeds, first), not as a key of cells")
        client = content.get("client", {})
        if not isinstance(client, dict):
            raise UserError(f"{where}: client must be a mapping (found {client!r})")
        samples = client.get("samples", 1)
        if not isinstance(samples, int) or samples < 1:
            raise UserError(f"{where}: client.samples must be a whole number from 1 up (found {samples!r})")
        images += samples * trials.count * trials.seeds
        if images > MOST_IMAGES:
            raise UserError(f"{where}: its cells attack more than {MOST_IMAGES:,} images (client.samples is {samples})")
        for trial in range(trials.count):
            start = trials.first + trial * samples
            victims = [index % trials.wrap if trials.wrap else index for index in range(start, start + samples)]
            for seed in range(trials.seeds):
                cell = {**content, "victims": victims, "seed": seed}
                yield Cell.parse(cell, f"{where} ({labels})"), labels


def _content(
    defaults: dict[str, Any], steps: list[dict[str, Any]], settings: AttackSettings, where: str
) -> dict[str, Any]:
    """The keys of a cell: `defaults`, then each step's settings in turn.

    Settings that the cell's attack names go under the mapping `attack` that the study starts from, so that a path set
    later replaces what it names, as everywhere.
    """
    content: dict[str, Any] = copied(defaults)
    for step in steps:
        assign(content, step, where)
    attack = content.get("attack")
    if not isinstance(attack, dict):
        return content
    base = settings.named(attack, where)

    def over_base(value: Any) -> Any:
        return merged(base, {**value, "name": base["name"]}) if base and isinstance(value, dict) else value

    content = copied(defaults | {"attack": over_base(defaults.get("attack", {}))})
    for step in steps:
        assign(content, {path: over_base(value) if path == "attack" else value for path, value in step.items()}, where)
    for key in FOLDERS:
        content["attack"].pop(key, None)
    return content


def _points(axis: Axis, named: dict[str, NamedAxis], where: str) -> list[Point]:
    if isinstance(axis, str):
        if axis not in named:
            raise UserError(f"{where}: unknown axis '{axis}'; known: {', '.join(sorted(named)) or 'none'}")
        axis = named[axis]
    if isinstance(axis, list):
        return axis
    if isinstance(axis, LabelledAxis):
        return axis.points()
    if len(axis) != 1:
        raise UserError(f"{where}: an axis names one key, found {sorted(axis)}; use a list of points for several")
    ((key, values),) = axis.items()
    return [Point(set={key: value}) for value in values]
