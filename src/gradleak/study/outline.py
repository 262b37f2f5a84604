"""The outline of a plan: `plan.json` read without torch, for what reports, collects and archives results.

`gradleak.study.plan.Plan` is the same with every cell and configuration parsed, for what computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from gradleak.documents import parse_json
from gradleak.study.reused import Reused, others, read_reused, reused_cells
from gradleak.study.shape import check_plan, read_plan

Content = Mapping[str, Any]
_PARTS = ("config", "columns", "cells", "batches", "checkpoints", "trainings", "auxiliaries", "accuracies_before")


@dataclass(frozen=True)
class Outline:
    """A plan with cells, batches and configurations as JSON has them, by id.

    title: the study's name where the plan has none. columns: how metrics name and round their columns. trainings:
    checkpoints of each. accuracies: for a cell whose model's accuracy is measured, the id of the training that does and
    the round. reused: the cells that archives hold. accuracies_before: for a cell whose model's accuracy is not
    measured, a reused one that attacks the same model.
    """

    study: str
    experiments: Content
    title: str = ""
    note: str = ""
    config: Content = field(default_factory=dict)
    columns: Content = field(default_factory=dict)
    cells: Content = field(default_factory=dict)
    batches: Content = field(default_factory=dict)
    checkpoints: Content = field(default_factory=dict)
    trainings: Content = field(default_factory=dict)
    auxiliaries: Content = field(default_factory=dict)
    accuracies: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    reused: tuple[Reused, ...] = ()
    accuracies_before: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `plan.json`. Raises UserError if it is missing or not a plan."""
        return cls.of(read_plan(path))

    @classmethod
    def parse(cls, text: str, where: str = "plan.json") -> Self:
        """Parse the content of `plan.json`. Raises UserError naming `where` if it is not a plan."""
        return cls.of(check_plan(parse_json(text, where), where))

    @classmethod
    def of(cls, plan: Content) -> Self:
        """The outline of a plan's checked content."""
        parts = {name: plan[name] for name in _PARTS if name in plan}
        accuracies = {cell: (name, number) for cell, (name, number) in plan.get("accuracies", {}).items()}
        study, title, note = plan["study"], plan.get("title") or plan["study"], plan.get("note") or ""
        reused = tuple(read_reused(plan))
        return cls(study, plan["experiments"], title, note, accuracies=accuracies, reused=reused, **parts)

    @cached_property
    def taken_over(self) -> frozenset[str]:
        """Ids of the cells that come from archives."""
        return reused_cells(self.reused)

    @cached_property
    def computed(self) -> dict[str, Content]:
        """The cells that the study computes itself."""
        return others(self.cells, self.reused)

    @cached_property
    def measured(self) -> dict[str, list[str]]:
        """The ids of cells that ask for IGSA, by batch. Batches without any are left out."""
        asking = {name for name, cell in self.cells.items() if cell.get("smoothness") is not None}
        found = {name: [cell for cell in batch["cells"] if cell in asking] for name, batch in self.batches.items()}
        return {name: cells for name, cells in found.items() if cells}

    @property
    def smoothness_batches(self) -> list[str]:
        """The batches that have cells with `smoothness`."""
        return list(self.measured)

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets whose images are attacked, or learned from by clients or adversaries; sorted."""
        cells = [cell for cell in self.computed.values() if "dataset" in cell]
        trained = [cell["dataset"] for cell in cells if cell.get("model", {}).get("round")]
        learned = [auxiliary["dataset"]["name"] for auxiliary in self.auxiliaries.values()]
        clients = [dataset.get("label_space") or dataset["name"] for dataset in trained]
        return sorted({*(cell["dataset"]["name"] for cell in cells), *clients, *learned})
