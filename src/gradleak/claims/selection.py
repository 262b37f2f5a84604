"""Choosing the cells of an experiment that a statistic reads, and the trial to which each belongs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from gradleak.analysis.baseline import noise
from gradleak.analysis.choice import Choice, are_among, in_short
from gradleak.analysis.summary import RATES, attacked, cell_table, diverged, select
from gradleak.analysis.text import as_text
from gradleak.claims.base import ClaimData, Statistic, UntestedError
from gradleak.errors import UserError
from gradleak.presentations.read import ShownExperiment

TRIAL = "trial"


class CellStatistic(Statistic):
    """A statistic of the cells of one experiment.

    where: labels or columns and the values (a list, or `least` and `most`) of the cells that are read. without: the
    values of those that are not; a label that the study does not have leaves none out. apart: labels or columns that
    keep trials of the same number apart, because they attack other images (data sets) or other models; those that the
    study does not have are left out.

    The unit is the trial: cells that attack the same images (seeds, attacks, settings) are not independent and are
    averaged first.
    """

    experiment: str
    where: Mapping[str, Choice] = {}
    without: Mapping[str, Choice] = {}
    apart: tuple[str, ...] = ("dataset_name",)

    @property
    def reads(self) -> str:
        """The experiment's name."""
        return self.experiment

    def cells(
        self,
        data: ClaimData,
        keys: Sequence[str],
        values: Sequence[str],
        optional: Sequence[str] = (),
        gaps: Sequence[str] = (),
    ) -> "Cells":
        """The chosen cells with keys, values, those of `optional` and `apart` that the study has, and `TRIAL`.

        Values of `gaps` may be missing in some cells (NaN). Cells that were not attacked, or whose client diverged, are
        none to choose. Raises UntestedError where the study lacks the experiment, a key, a value, or cells to choose.
        """
        experiment = standing(data, self.experiment)
        known = {*experiment.labels, *map(str, data.results.columns)} - {"cell_id"}
        needed = list(dict.fromkeys([*keys, *self.where]))
        for name in [*needed, *(value for value in values if value not in RATES)]:
            if name not in known:
                raise UntestedError(f"experiment '{self.experiment}' has no '{name}'")
        apart = [name for name in self.apart if name in known]
        extra = [name for name in optional if name in known]
        without = {name: choice for name, choice in self.without.items() if name in known}
        used = list(dict.fromkeys([*needed, *without, *extra, *apart]))
        # A cell that is listed twice under labels that are not read is one.
        read = ["cell_id", *(name for name in used if name in experiment.labels)]
        experiment = replace(experiment, cells=experiment.cells.drop_duplicates(read, ignore_index=True))
        table = cell_table(data.results, experiment, used, [])
        chosen = self._choose(table, without)
        experiment = replace(experiment, cells=experiment.cells[chosen.to_numpy()])
        rows = select(data.results, experiment)
        for name in values:
            if name in rows.columns and name not in experiment.labels and rows[name].isna().all():
                raise UntestedError(f"experiment '{self.experiment}' has no values of '{name}'")
        found = cell_table(data.results, experiment, used, list(values), gaps)
        found[TRIAL] = found["cell_id"].map(trials(data, self.experiment))
        return Cells(found, [*apart, TRIAL], extra)

    def _choose(self, table: pd.DataFrame, without: Mapping[str, Choice]) -> pd.Series:
        chosen = pd.Series(True, index=table.index)
        for key, choice in self.where.items():
            own = are_among(table[key], choice)
            if not (chosen & own).any():
                has = ", ".join(as_text(value) for value in dict.fromkeys(table[key][chosen]))
                lacks = f"has no cells with {key} {in_short(choice)} (has {has})"
                raise UntestedError(f"experiment '{self.experiment}' {lacks}")
            chosen &= own
        for key, choice in without.items():
            chosen &= ~are_among(table[key], choice)
        if not chosen.any():
            raise UntestedError(f"experiment '{self.experiment}' has no cells without {', '.join(without)}")
        return chosen


@dataclass(frozen=True)
class Cells:
    """Chosen cells: `table`, one row per cell; `unit`, its columns that tell units apart; `extra`, optional ones."""

    table: pd.DataFrame
    unit: list[str]
    extra: list[str]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the cells."""
        return tuple(dict.fromkeys(self.table["cell_id"]))


def standing(data: ClaimData, name: str) -> ShownExperiment:
    """An experiment without the cells that no claim reads: those that were not attacked, those whose client diverged,
    and those that are compared with a baseline that is not reconstructed.

    Raises UntestedError where the study has no such experiment, or no cell of it is left.
    """
    experiment = data.experiments.get(name)
    if experiment is None:
        raise UntestedError(f"the study has no experiment '{name}'")
    try:
        experiment = attacked(data.results, experiment)
    except UserError as error:
        raise UntestedError(str(error)) from None
    left = experiment.cells[~experiment.cells["cell_id"].isin(diverged(data.results, experiment))]
    if left.empty:
        raise UntestedError(f"experiment '{name}': the client of every attacked cell diverged")
    found = noise(data.results, experiment)
    left = left[~left["cell_id"].isin(found.cells)]
    if left.empty:
        raise UntestedError(f"experiment '{name}': {found}")
    return replace(experiment, cells=left.reset_index(drop=True), baseline=None)


def narrowed(data: ClaimData, name: str, cells: pd.DataFrame) -> ClaimData:
    """The same with other cells (a table as of `Experiment`) of an experiment, each of its own trial as before."""
    return exchanged(data, name, replace(data.experiments[name], cells=cells.reset_index(drop=True)))


def exchanged(data: ClaimData, name: str, experiment: ShownExperiment) -> ClaimData:
    """The same with another experiment of this name, which has some of its cells, each of its own trial as before."""
    numbers = {**data.trials, name: trials(data, name)}
    return replace(data, experiments={**data.experiments, name: experiment}, trials=numbers)


def trials(data: ClaimData, name: str) -> pd.Series:
    """Number of the trial of each cell of an experiment, by cell_id: the rank of its first victim among those that it
    could have had.

    Trial i of a study attacks the i-th batch of a data set. Cells with the same first victim, data set (with its
    classes) and number of samples attack the same images.
    """
    if name in data.trials:
        return data.trials[name]
    rows = data.results[data.results["cell_id"].isin(data.experiments[name].cells["cell_id"])]
    first = rows.sort_values("position", kind="stable").drop_duplicates("cell_id").set_index("cell_id")
    group = [str(name) for name in first.columns if str(name).startswith("dataset_")] + ["client_samples"]
    return first.groupby(group, dropna=False)["image"].rank(method="dense").astype(int)
