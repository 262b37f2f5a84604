"""Reading an archive: plan, provenance, results, and which cells were computed together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import nn

from gradleak.archive.provenance import Environment, Provenance
from gradleak.errors import UserError
from gradleak.models.base import build_model, set_bn_mode
from gradleak.parquet import read_parquet
from gradleak.presentations.read import RESULT_COLUMNS, read_plan
from gradleak.stages.reconstruct import runs
from gradleak.study.cell import Cell
from gradleak.study.plan import Plan
from gradleak.study.reused import PLAN, PROVENANCE, RESULTS, check_manifest

#: Columns that every archive's results have.
REQUIRED = [*RESULT_COLUMNS, "position", "psnr", "objective", "iterations", "label"]

_HALF = (0.5, 0.5, 0.5)  # normalisation: no matter which


@dataclass(frozen=True)
class Run:
    """Cells that were attacked in one vectorised run: computed again together, they can be equal bit for bit.

    `jobs`: stage and id of the jobs that the cells depend on. `seconds`: how long it took. `held`: ids of the cells
    that the results have, or None for all.
    """

    cells: list[Cell]
    jobs: list[tuple[str, str]]
    seconds: float
    held: frozenset[str] | None = None

    @property
    def compared(self) -> list[str]:
        """The ids of the cells that the results have."""
        return [cell.id for cell in self.cells if self.held is None or cell.id in self.held]


class Archive:
    """An archive's plan, provenance and results.

    Raises UserError where a file is not what its manifest says, or what it must be: an archive may be somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        check_manifest(folder)
        self.plan = Plan.read(folder / PLAN)
        self.provenance = Provenance.read(folder / PROVENANCE)
        self._folder = folder
        self._check_parts()

    @cached_property
    def results(self) -> pd.DataFrame:
        """One row per reconstructed image."""
        return read_parquet(self._folder / RESULTS)

    def _check_parts(self) -> None:
        """Raise UserError if the plan refers to other archives, or plan and provenance do not fit together."""
        where = self._folder / PLAN
        if self.plan.reused or self.plan.config.reuse:
            raise UserError(f"{where}: refers to another archive; an archive holds all of its cells itself")
        for name, cell in self.plan.cells.items():
            if cell.id != name:
                raise UserError(f"{where}: cell {name}: its content is that of cell {cell.id}")
        for name in self.plan.batches:
            if name not in self.provenance.jobs.get("reconstruct", {}):
                raise UserError(f"{self._folder / PROVENANCE}: names no job of batch {name}, which {PLAN} has")

    def check(self) -> None:
        """Raise UserError unless what is shown can be drawn from the results, and these hold the cells of the plan."""
        read_plan(self._folder / PLAN)
        path = self._folder / RESULTS
        lacking = [name for name in REQUIRED if name not in self.results]
        if lacking:
            raise UserError(f"{path}: lacks the column '{lacking[0]}'")
        batches = self.plan.batches.values()
        wanted = {cell for batch in batches for cell in (batch.cells if batch.held is None else batch.held)}
        found = set(self.results["cell_id"])
        if found != wanted:
            other = min(found ^ wanted)
            raise UserError(f"{path}: cell {other} is {'not in' if other in found else 'missing, but in'} {PLAN}")

    def environments(self, run: Run) -> list[Environment]:
        """The environments in which a run and the trainings that it needs were computed, each once."""
        found = [place for stage, name in run.jobs for place in self.provenance.places(stage, name)]
        return [place for index, place in enumerate(found) if place not in found[:index]]

    def datasets(self, run: Run) -> set[str]:
        """Names of the data sets that a run needs: its victims' and those that its models are trained on."""
        return {name for cell in run.cells for name in cell.datasets}

    @cached_property
    def runs(self) -> list[Run]:
        """All runs that the results have cells of, in the plan's order."""
        return [run for run in self._runs() if run.compared]

    def _runs(self) -> Iterator[Run]:
        for batch, content in self.plan.batches.items():
            held = None if content.held is None else frozenset(content.held)
            job = self.provenance.jobs["reconstruct"][batch]
            kind = kind_of(self.provenance.environments[job.environment].device)
            around = sum(self._seconds([(stage, batch)]) for stage in ("update", "score"))
            cells_of_batch = len(self.plan.batch_cells(batch))
            for families in runs(self.plan, batch, self._architecture, kind):
                cells = [cell for family in families for cell in family]
                needed = self._needed(batch, cells)
                seconds = sum(job.families.get(family[0].family, job.seconds) for family in families)
                seconds += around * len(cells) / cells_of_batch + self._seconds(needed)
                yield Run(cells, [("reconstruct", batch), *needed], seconds, held)

    def _seconds(self, jobs: Iterable[tuple[str, str]]) -> float:
        known = self.provenance.jobs
        return sum(known[stage][name].seconds for stage, name in jobs if name in known.get(stage, {}))

    def _needed(self, batch: str, cells: list[Cell]) -> list[tuple[str, str]]:
        """The federated trainings and auxiliary models that cells of a batch need."""
        models = [auxiliary for cell in cells for auxiliary in cell.attack.auxiliaries()]
        trained = {cell.training for cell in cells if cell.model.round}
        own = self.plan.batches[batch]
        found: list[tuple[str, str]] = [
            ("pretrain", key)
            for key in self.plan.auxiliaries
            if key in own.auxiliaries and self.plan.auxiliaries[key] in models
        ]
        return found + [
            ("federate", key)
            for key, names in self.plan.trainings.items()
            if set(names) & set(own.checkpoints) and self.plan.training_cell(key).training in trained
        ]

    def _architecture(self, cell: Cell) -> nn.Module:
        known = self.provenance.data.get(cell.dataset.labels_of)
        model = build_model(cell.model, known.classes if known else 10, cell.dataset.resolution, _HALF, _HALF)
        return set_bn_mode(model, cell.client.bn_mode)


def kind_of(device: str | None) -> str:
    """The kind of a device that provenance names: `cpu` or `cuda`."""
    return "cpu" if device is None or device.startswith("cpu") else "cuda"
