"""Reading an archive: plan, provenance, results, and which cells were computed together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import nn

from gradleak.archive.provenance import Environment, Provenance
from gradleak.models.base import build_model, set_bn_mode
from gradleak.parquet import read_parquet
from gradleak.stages.reconstruct import runs
from gradleak.study.cell import Cell
from gradleak.study.plan import Plan
from gradleak.study.reused import PLAN, PROVENANCE, RESULTS, check_manifest

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
    """An archive's plan, provenance and results. Raises UserError where a file is not what its manifest says."""

    def __init__(self, folder: Path) -> None:
        check_manifest(folder)
        self.plan = Plan.read(folder / PLAN)
        self.provenance = Provenance.read(folder / PROVENANCE)
        self._results = folder / RESULTS

    @cached_property
    def results(self) -> pd.DataFrame:
        """One row per reconstructed image."""
        return read_parquet(self._results)

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
