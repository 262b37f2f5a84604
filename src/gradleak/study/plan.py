"""The plan of a study: which cells run in which job. Written once, read by every stage."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradleak.auxiliary.base import Auxiliary, parse_auxiliary
from gradleak.errors import UserError, first_error
from gradleak.files import write_text
from gradleak.frozen import digest
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.ids import checkpoint_id, training_id
from gradleak.study.reused import Reused, others, read_reused
from gradleak.study.shape import read_plan


@dataclass(frozen=True)
class Batch:
    """Cells that one job computes, in order. `seconds` is the estimate on the plan's device.

    `held` is None, or the ids of the cells whose rows the results have, if an archive's batch is held in part.
    """

    id: str
    cells: list[str]
    checkpoints: list[str]
    auxiliaries: list[str]
    seconds: float
    held: list[str] | None = None

    def content(self) -> dict[str, Any]:
        """The batch as `plan.json` holds it."""
        return {key: value for key, value in self.__dict__.items() if key != "held" or value is not None}


@dataclass(frozen=True)
class Plan:
    """Everything that the stages need to know of a study, as `plan.json` holds it.

    `checkpoints` names a cell that attacks each. `trainings` lists the checkpoints of each federated training.
    `columns` are those of the metrics (`metrics.base.described`), for the stages that print their values. `reused`
    names the cells that archives hold: nothing else of the plan but `cells` and `experiments` knows of them.
    """

    study: str
    config: Config
    cells: dict[str, Cell]
    batches: dict[str, Batch]
    checkpoints: dict[str, str]
    trainings: dict[str, list[str]]
    auxiliaries: dict[str, Auxiliary]
    experiments: dict[str, Any]
    title: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    reused: Sequence[Reused] = ()

    @cached_property
    def computed(self) -> dict[str, Cell]:
        """The cells that are not taken over from an archive."""
        return others(self.cells, self.reused)

    def batch_cells(self, batch: str) -> list[Cell]:
        """The cells of a batch. Raises UserError for an unknown id."""
        if batch not in self.batches:
            raise UserError(f"batch '{batch}' is not in the plan of study '{self.study}'; run `gradleak plan`")
        return [self.cells[cell] for cell in self.batches[batch].cells]

    @property
    def smoothness_batches(self) -> list[str]:
        """The batches that have cells with `smoothness`."""
        return [batch for batch in self.batches if any(cell.smoothness is not None for cell in self.batch_cells(batch))]

    def trained(self, batch: str) -> list[str]:
        """The checkpoints that a batch attacks and a training writes: all but those of round 0."""
        return [name for name in self.batches[batch].checkpoints if self.cells[self.checkpoints[name]].model.round]

    @property
    def shown_auxiliaries(self) -> dict[str, str]:
        """Ids of the auxiliary models by the names under which they are shown: the title and the id."""
        return {f"{auxiliary.title}_{name}": name for name, auxiliary in self.auxiliaries.items()}

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets whose images are attacked, or learned from by clients or adversaries; sorted."""
        cells = self.computed.values()
        learned = {auxiliary.dataset.name for auxiliary in self.auxiliaries.values()}
        clients = {cell.training_data.name for cell in cells if cell.model.round}
        return sorted({cell.dataset.name for cell in cells} | clients | learned)

    def training_cell(self, training: str) -> Cell:
        """A cell that attacks the last needed round of a federated training. Raises UserError for an unknown id."""
        if training not in self.trainings:
            raise UserError(f"training '{training}' is not in the plan of study '{self.study}'; run `gradleak plan`")
        return self.cells[self.checkpoints[self.trainings[training][-1]]]

    def rounds(self, training: str) -> dict[int, str]:
        """The needed rounds of a federated training, ascending, with the ids of their checkpoints."""
        self.training_cell(training)
        return {self.cells[self.checkpoints[name]].model.round: name for name in self.trainings[training]}

    def auxiliary(self, auxiliary: str) -> Auxiliary:
        """An auxiliary model. Raises UserError for an unknown id."""
        if auxiliary not in self.auxiliaries:
            raise UserError(f"auxiliary model '{auxiliary}' is not in the plan of study '{self.study}'")
        return self.auxiliaries[auxiliary]

    def families(self, batch: str) -> list[list[Cell]]:
        """A batch's cells grouped by family, in order: each group runs vectorised together."""
        groups: dict[str, list[Cell]] = defaultdict(list)
        for cell in self.batch_cells(batch):
            groups[cell.family].append(cell)
        return list(groups.values())

    def joinable(self, batch: str) -> list[list[list[Cell]]]:
        """A batch's families grouped by what they have in common beside the checkpoint's weights, in order."""
        groups: dict[str, list[list[Cell]]] = defaultdict(list)
        for family in self.families(batch):
            groups[without_weights(family[0])].append(family)
        return list(groups.values())

    def accuracies(self) -> dict[str, tuple[str, int]]:
        """The training that measures the accuracy of the checkpoint that a cell attacks, and the round, by cell.

        Round 0 belongs to no training: it is the initialisation of all trainings of its model, and any of them will
        do, unless they measure it on different test images. A cell whose checkpoint no training measures is left out,
        and one that an archive holds: its rows have the accuracy.
        """
        if not self.trainings:
            return {}
        initial: dict[str, dict[object, str]] = defaultdict(dict)
        for training in self.trainings:
            cell = self.training_cell(training)
            spec = cell.model.training
            assert spec is not None
            images = (spec.evaluate, spec.seed) if spec.evaluate else None
            initial[checkpoint_id(_untrained(cell), self.config)][images] = training
        found: dict[str, tuple[str, int]] = {}
        for name, cell in self.computed.items():
            if cell.model.round:
                found[name] = training_id(cell, self.config), cell.model.round
            elif len(measuring := initial.get(checkpoint_id(cell, self.config), {})) == 1:
                found[name] = next(iter(measuring.values())), 0
        return found

    def accuracies_before(self) -> dict[str, str]:
        """For cells whose checkpoint no training here measures, a reused cell that attacks it: its rows may say.

        Such a checkpoint is of round 0: a cell of a later round has its training here.
        """
        known, reused = self.accuracies(), {name: self.cells[name] for name in self.cells.keys() - self.computed.keys()}
        before = {cell.checkpoint: name for name, cell in sorted(reused.items())}
        left = {name: cell.checkpoint for name, cell in self.computed.items() if name not in known}
        return {name: before[checkpoint] for name, checkpoint in left.items() if checkpoint in before}

    def text(self) -> str:
        """The content of `plan.json`: equal plans give equal text."""
        return json.dumps(self._content(), indent=1) + "\n"

    @property
    def digest(self) -> str:
        """Hash of the whole content."""
        return digest(self._content())

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "study": self.study,
            "title": self.title,
            "note": self.note,
            "config": self.config.model_dump(mode="json"),
            "columns": self.columns,
            "experiments": self.experiments,
            "accuracies": self.accuracies(),
            "batches": {key: batch.content() for key, batch in self.batches.items()},
            "checkpoints": self.checkpoints,
            "trainings": self.trainings,
            "auxiliaries": {key: value.model_dump(mode="json") for key, value in self.auxiliaries.items()},
            "cells": {key: cell.model_dump(mode="json") for key, cell in self.cells.items()},
        }
        if self.reused:
            content["reused"] = [asdict(entry) for entry in self.reused]
            content["accuracies_before"] = self.accuracies_before()
        return content

    def write(self, path: Path) -> None:
        """Write `plan.json` atomically. The bytes depend on the content only."""
        write_text(path, self.text())

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read `plan.json`. Raises UserError if it is missing or not a plan."""
        content = read_plan(path)
        empty = next((name for name, found in content.get("trainings", {}).items() if not found), None)
        if empty is not None:
            raise UserError(f"{path}: not a plan (training {empty} has no checkpoints); run `gradleak plan` again")
        try:
            return cls(
                content["study"],
                Config.parse(content["config"], f"{path}: config"),
                {key: Cell.parse(value, f"{path}: cells.{key}") for key, value in content["cells"].items()},
                {key: Batch(**value) for key, value in content["batches"].items()},
                content["checkpoints"],
                content["trainings"],
                {key: parse_auxiliary(value) for key, value in content["auxiliaries"].items()},
                content["experiments"],
                content.get("title", ""),
                content.get("columns", {}),
                content.get("note", ""),
                read_reused(content),
            )
        except (KeyError, TypeError, ValidationError) as error:
            reason = first_error(error) if isinstance(error, ValidationError) else repr(error)
            raise UserError(f"{path}: not a plan ({reason}); run `gradleak plan` again") from None


def _untrained(cell: Cell, **settings: int) -> Cell:
    """The cell at round 0, with other settings of its model."""
    model = cell.model.model_copy(update={"round": 0, "training": None, **settings})
    return cell.model_copy(update={"model": model})


def without_weights(cell: Cell) -> str:
    """The family that a cell would have at round 0 of the first initialisation."""
    return _untrained(cell, init_seed=0).family
