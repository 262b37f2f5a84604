"""Whether the baseline of an experiment is reconstructed: without that, a difference to it says nothing."""

from dataclasses import dataclass, field

import pandas as pd

from gradleak.analysis.choice import are_among, in_short
from gradleak.analysis.experiment import Experiment
from gradleak.analysis.summary import attacked, diverged
from gradleak.analysis.text import as_text
from gradleak.metrics.rates import TAU_LPIPS

_NUMBER = "number of the group"


@dataclass(frozen=True)
class Group:
    """A group whose baseline is not reconstructed. lpips: its mean over cells. below: how many cells are recognised."""

    name: str
    lpips: float
    below: int
    cells: int

    def __str__(self) -> str:
        prefix = f"{self.name}: " if self.name else ""
        return f"{prefix}LPIPS {self.lpips:.3f}, {self.below} of {self.cells} trials recognisable"


@dataclass(frozen=True)
class Noise:
    """What of an experiment shows nothing. groups: those whose baseline is not reconstructed. cells: all of theirs.
    where: the baseline as text. absent: whether there is no cell of it, so that nothing can be said.
    """

    where: str = ""
    groups: tuple[Group, ...] = ()
    cells: frozenset[str] = field(default_factory=frozenset)
    absent: bool = False

    def __str__(self) -> str:
        at = f" ({self.where})" if self.where else ""
        if self.absent:
            return f"there is no baseline{at} to compare with"
        return f"the baseline{at} is not reconstructed: {'; '.join(map(str, self.groups))}" if self.groups else ""


def noise(results: pd.DataFrame, experiment: Experiment) -> Noise:
    """The groups of an experiment whose baseline is not reconstructed.

    results: as in results.parquet. A baseline is not reconstructed if in most of its cells the mean LPIPS of the
    images, as the objective chose them, is above `TAU_LPIPS`. Cells that were not attacked, or whose client diverged,
    do not count. A group that has no cell of the baseline is judged with the others: it is noise if all of them are.
    Nothing is said without a baseline or LPIPS. Raises UserError where no cell was attacked.
    """
    baseline = experiment.baseline
    if baseline is None or "lpips" not in results:
        return Noise()
    cells = attacked(results, experiment).cells
    chosen = results[results["chosen"].astype(bool) & results["cell_id"].isin(cells["cell_id"])]
    table = cells.astype({"cell_id": str}).assign(lpips=cells["cell_id"].map(chosen.groupby("cell_id")["lpips"].mean()))
    facts = chosen.drop_duplicates("cell_id").set_index("cell_id")
    for name in [*baseline.where, *baseline.each]:
        if name not in table and name in facts:
            table[name] = table["cell_id"].map(facts[name])
    each = [name for name in baseline.each if name in table]
    table[_NUMBER] = table.groupby(each, sort=False, dropna=False).ngroup() if each else 0
    own = table.dropna(subset="lpips")
    own = own[~own["cell_id"].isin(diverged(results, experiment))]
    known = {name: choice for name, choice in baseline.where.items() if name in table}
    for name, choice in known.items():
        own = own[are_among(own[name], choice)]
    where = ", ".join(f"{name.replace('_', ' ')} {in_short(choice)}" for name, choice in known.items())
    if own.empty:
        return Noise(where, absent=True)
    missed = own["lpips"].gt(TAU_LPIPS).groupby(own[_NUMBER], sort=False).mean() > 0.5
    if not missed.any():
        return Noise()
    groups = []
    for number in missed.index[missed]:
        part = own[own[_NUMBER] == number]
        name = ", ".join(as_text(value) for value in part.iloc[0][each] if not pd.isna(value))
        below = int(part["lpips"].le(TAU_LPIPS).sum())
        groups.append(Group(name, float(part["lpips"].mean()), below, part["cell_id"].nunique()))
    gone = table[_NUMBER].isin(missed.index[missed])
    if missed.all():
        gone |= ~table[_NUMBER].isin(missed.index)
    return Noise(where, tuple(groups), frozenset(table["cell_id"][gone]))
