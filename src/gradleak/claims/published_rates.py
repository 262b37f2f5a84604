"""Which learning rate of the client agrees best with Tables 1 and 2 of the paper, which does not state one."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from gradleak.analysis.published import published
from gradleak.analysis.statistics import LEAST_POINTS, Correlation
from gradleak.claims.base import ClaimData
from gradleak.claims.published import Line, agreement, published_lines, shows
from gradleak.presentations.read import ShownExperiment
from gradleak.presentations.table import Table

TABLES = ("table1", "table2")
"""The tables whose clients take several steps. The columns of both are numbers of local steps U."""

BOTH = "both"

_FACTS = ["model_name", "client_lr", "client_steps"]


@dataclass(frozen=True)
class RateAgreement:
    """How the cells of one model and client rate agree with one table, or with both tables together.

    stable: no client's loss ends above its start or is not finite, after as many steps as the paper's. judged, agreed:
    lines with a verdict on both sides, and those of them where both are the same. ranks: of the lines with both
    numbers. error: mean absolute difference of their LPIPS. fitted: of the model's stable rates this one agrees best.
    """

    model: str
    rate: float
    table: str
    stable: bool
    judged: int
    agreed: int
    ranks: Correlation
    error: float
    fitted: bool = False

    @property
    def share(self) -> float:
        """Share of verdicts that agree. NaN where there are none."""
        return self.agreed / self.judged if self.judged else math.nan


def rate_agreements(data: ClaimData) -> list[RateAgreement]:
    """Agreement for each model, rate (ascending) and table, and for both tables together.

    A cell counts where it is a row of the paper: with as many local steps as the column says, and no other point or
    attack than the paper's, whose labels it has. A cell that is listed twice counts once. Of the stable rates of a
    model with verdicts on `LEAST_POINTS` lines or more, the fitted one has the greatest share of verdicts that agree,
    then the greatest rank correlation, then the least error. Empty where the study has no such table. Raises UserError
    where results are incomplete.
    """
    if any(name not in data.results for name in _FACTS):
        return []
    facts = data.results.drop_duplicates("cell_id").set_index("cell_id")
    shown = [(experiment, table) for name in TABLES for experiment, table, _ in shows(data, name)]
    cells = [cell for experiment, _ in shown for cell in experiment.cells["cell_id"] if cell in facts.index]
    known = facts.loc[list(dict.fromkeys(cells))]
    rows = {experiment.name: _rows(experiment, table, facts) for experiment, table in shown}
    steps = {cell for experiment in rows.values() for cell in experiment.cells["cell_id"]}
    found: list[RateAgreement] = []
    for model in known["model_name"].unique():
        one = known[known["model_name"] == model]
        for rate in sorted(one["client_lr"].unique()):
            own = one[one["client_lr"] == rate]
            stepped = own[own.index.isin(steps)]
            stable = "client_diverged" not in own or not stepped["client_diverged"].eq(True).any()
            lines = _lines(data, rows, own.index)
            for table in (*TABLES, BOTH):
                part = [line for line in lines if table in (line.table, BOTH) and line.trials]
                if part:
                    found.append(_agreement(str(model), float(rate), table, stable, part))
    best = {model: _fitted(model, found) for model in known["model_name"].unique()}
    return [replace(row, fitted=row is best[row.model]) for row in found]


def _rows(experiment: ShownExperiment, table: Table, facts: pd.DataFrame) -> ShownExperiment:
    """The experiment with the attacked cells that take as many steps as one of the paper's columns says, each once."""
    cells = experiment.cells.drop_duplicates("cell_id")
    own = facts.reindex(cells["cell_id"])
    attacked = own["unattacked"].isna() if "unattacked" in own else own["client_steps"].notna()
    column = cells[table.columns] if table.columns in cells else own[table.columns]
    steps = pd.to_numeric(pd.Series(column.to_numpy()), errors="coerce")
    columns = pd.to_numeric(published(str(table.published))["column"])
    keep = attacked.to_numpy() & ((steps == own["client_steps"].to_numpy()) & steps.isin(columns)).to_numpy()
    return replace(experiment, cells=cells[keep], show=(table,))


def _lines(data: ClaimData, rows: dict[str, ShownExperiment], cells: pd.Index) -> list[Line]:
    """The lines of Tables 1 and 2 beside these cells alone."""
    chosen = {
        name: replace(
            experiment, cells=experiment.cells[experiment.cells["cell_id"].isin(cells)].reset_index(drop=True)
        )
        for name, experiment in rows.items()
    }
    experiments = {name: experiment for name, experiment in chosen.items() if len(experiment.cells)}
    return published_lines(replace(data, experiments=experiments), TABLES)


def _agreement(model: str, rate: float, table: str, stable: bool, lines: list[Line]) -> RateAgreement:
    found = agreement(table, "lpips", lines)
    differences = [abs(line.difference) for line in lines if not math.isnan(line.difference)]
    error = sum(differences) / len(differences) if differences else math.nan
    return RateAgreement(model, rate, table, stable, found.judged, found.agreed, found.ranks, error)


def _fitted(model: str, rows: list[RateAgreement]) -> RateAgreement | None:
    own = [row for row in rows if row.model == model and row.table == BOTH]
    possible = [row for row in own if row.stable and row.judged >= LEAST_POINTS]
    return max(possible, key=_goodness, default=None)


def _goodness(row: RateAgreement) -> tuple[float, float, float]:
    return row.share, -2.0 if math.isnan(row.ranks.rho) else row.ranks.rho, -row.error
