"""Every published number, the paper's and others', beside the study's: difference and verdict of either."""

import math
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gradleak.analysis.baseline import noise
from gradleak.analysis.published import Published, Source, published, published_labels, published_names, source_of
from gradleak.analysis.statistics import Correlation, rank_correlation
from gradleak.analysis.summary import cell_table, summarise
from gradleak.analysis.text import as_text
from gradleak.claims.base import ClaimData
from gradleak.metrics.rates import TAU_LPIPS
from gradleak.presentations.read import ShownExperiment
from gradleak.presentations.table import Table

BASELINES = {"table4": "None"}
"""Tables whose verdict is better or worse than one column; that of all others is above or below `TAU_LPIPS`."""


@dataclass(frozen=True)
class Line:
    """One published number, and what the study has beside it (if anything).

    labels: the source's row labels. published, value, std: NaN where there is none. trials: 0 where the study has no
    such entry. setting: the study's labels that the source does not have. paper_verdict (the source's), our_verdict:
    `above`, `below`, `better`, `worse`, `same`, or nothing; so for a number whose baseline the study does not
    reconstruct.
    """

    table: str
    labels: str
    column: str
    metric: str
    published: float
    experiment: str = ""
    setting: str = ""
    value: float = math.nan
    std: float = math.nan
    trials: int = 0
    paper_verdict: str = ""
    our_verdict: str = ""

    @property
    def source(self) -> Source:
        """Whose number it is."""
        return source_of(self.table)

    @property
    def difference(self) -> float:
        """Ours less the published one."""
        return self.value - self.published

    @property
    def agrees(self) -> bool | None:
        """Whether both verdicts are the same. None if one is missing."""
        return self.paper_verdict == self.our_verdict if self.paper_verdict and self.our_verdict else None


@dataclass(frozen=True)
class Agreement:
    """One table and metric: its published numbers, those that the study has, verdicts that agree, rank correlation."""

    table: str
    metric: str
    printed: int
    found: int
    judged: int
    agreed: int
    ranks: Correlation

    @property
    def rate(self) -> float:
        """Share of verdicts that agree. NaN where there are none."""
        return self.agreed / self.judged if self.judged else math.nan


@dataclass(frozen=True)
class _Ours:
    experiment: str
    setting: str
    value: float
    std: float
    trials: int
    baseline: float
    noise: bool


def published_lines(data: ClaimData, names: Collection[str] | None = None) -> list[Line]:
    """All published numbers, the paper's first, in their sources' order, each as often as the study has an entry, at
    least once.

    names: the published tables to read; None: all. The study's entries are those of its tables that name a published
    table. Raises UserError where results are incomplete.
    """
    lines: list[Line] = []
    for name in published_names() if names is None else names:
        table = published(name)
        ours = [(paper, _ours(data, experiment, shown, paper)) for experiment, shown, paper in shows(data, name)]
        for row in table.to_dict("records"):
            line = _line(table, row)
            found = []
            for paper, entries in ours:
                known = {source: row[label] for label, source in paper.sources.items()}
                found += [_beside(line, entry) for entry in entries.get(paper.key(known, line.metric), [])]
            lines += found or [line]
    return lines


def agreements(lines: list[Line]) -> list[Agreement]:
    """Agreement per table and metric, in the order of the lines."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.table, line.metric), []).append(line)
    return [agreement(table, metric, own) for (table, metric), own in groups.items()]


def agreement(table: str, metric: str, lines: list[Line]) -> Agreement:
    """Agreement of these lines, which are of one metric, under the name of a table."""
    printed = {(line.labels, line.column) for line in lines if not math.isnan(line.published)}
    both = [line for line in lines if not math.isnan(line.difference)]
    has = {(line.labels, line.column) for line in both}
    judged = [line.agrees for line in lines if line.agrees is not None]
    ranks = rank_correlation([line.published for line in both], [line.value for line in both])
    return Agreement(table, metric, len(printed), len(has), len(judged), sum(judged), ranks)


def shows(data: ClaimData, name: str) -> Iterator[tuple[ShownExperiment, Table, Published]]:
    """The study's tables that name a published one, with their experiments and the published values."""
    for experiment in data.experiments.values():
        for table in experiment.show:
            if isinstance(table, Table) and table.published == name:
                yield experiment, table, Published(name, table.columns, table.published_as)


def _ours(
    data: ClaimData, experiment: ShownExperiment, table: Table, paper: Published
) -> dict[tuple[str, ...] | None, list[_Ours]]:
    """The study's entries of one table, by the labels that they share with published ones."""
    keys = [*table.keys, *paper.beside(table.keys)]
    cells = cell_table(data.results, experiment, keys, list(table.values))
    own = [key for key in table.keys if key not in paper.sources.values()]
    entries = summarise(cells, keys, list(table.values)).to_dict("records")
    rows = [{str(key): value for key, value in entry.items()} for entry in entries]
    rest = [key for key in keys if key != table.columns]
    reference = BASELINES.get(paper.name)
    baselines = {
        (*(row[key] for key in rest), row["metric"]): float(row["value"])
        for row in rows
        if reference is not None and as_text(row[table.columns]).casefold() == reference.casefold()
    }
    shown = noise(data.results, experiment)
    noisy = set(cells[cells["cell_id"].isin(shown.cells)][keys].itertuples(index=False, name=None))
    found: dict[tuple[str, ...] | None, list[_Ours]] = {}
    for row in rows:
        setting = ", ".join(f"{table.heading(key)} {table.shown(row[key])}" for key in own)
        base = baselines.get((*(row[key] for key in rest), row["metric"]), math.nan)
        numbers = float(row["value"]), float(row["std"]), int(row["trials"]), base
        ours = _Ours(experiment.name, setting, *numbers, tuple(row[key] for key in keys) in noisy)
        found.setdefault(paper.key(row, row["metric"]), []).append(ours)
    return found


def _line(table: pd.DataFrame, row: Mapping[Hashable, Any]) -> Line:
    """The line of a published number, by itself."""
    name, metric = row["table"], row["metric"]
    baseline = math.nan
    if name in BASELINES:
        same = (table["column"] == BASELINES[name]) & (table["metric"] == metric)
        baseline = float(table["value"][same].iloc[0])
    labels = ", ".join(row[label] for label in published_labels(table))
    verdict = _verdict(name, metric, row["column"], row["value"], baseline)
    return Line(name, labels, row["column"], metric, row["value"], paper_verdict=verdict)


def _beside(line: Line, ours: _Ours) -> Line:
    """The line with an entry of the study beside the published number."""
    return replace(
        line,
        experiment=ours.experiment,
        setting=ours.setting,
        value=ours.value,
        std=ours.std,
        trials=ours.trials,
        our_verdict="" if ours.noise else _verdict(line.table, line.metric, line.column, ours.value, ours.baseline),
    )


def _verdict(table: str, metric: str, column: str, value: float, baseline: float) -> str:
    """The verdict on a number of LPIPS. Other metrics, a baseline and a missing number have none (empty text)."""
    if metric != "lpips" or math.isnan(value):
        return ""
    if table not in BASELINES:
        return "above" if value > TAU_LPIPS else "below"
    if column == BASELINES[table] or math.isnan(baseline):
        return ""
    return "better" if value < baseline else "worse" if value > baseline else "same"
