"""Chooses which cells of a study are computed within some minutes: those that decide most per second.

An *entry* is what a table shows as one number: the cells of one experiment that differ in their trial only. Its verdict
is whether its mean LPIPS is above or below `TAU_LPIPS`. It is undecided with fewer than two trials, or while the 95 % t
interval of its mean holds that threshold. docs/reference.md says in words how cells are chosen.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from gradleak.errors import UserError
from gradleak.frozen import Scalar
from gradleak.metrics.rates import TAU_LPIPS
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.cost import JOB_START_S, auxiliary_cost, cost, federated_cost, recorded_throughput, smoothness_cost
from gradleak.study.expand import Study
from gradleak.study.ids import auxiliary_id, training_id
from gradleak.study.planning import check_models, settled

#: LPIPS of reconstructions lies within 0 and about this: what the first trial of an entry says.
LPIPS_RANGE = 0.7

#: Standard deviation of LPIPS between trials where no entry has two yet: about that of `results/reference`.
UNKNOWN_SPREAD = 0.04

#: Jobs that the first cell of a data set, model and attack begins: update, attack, score.
_JOBS = 3

Reason = Literal["no trial yet", "undecided", "narrows"]


@dataclass(frozen=True)
class Pick:
    """A chosen cell, and the entry that asked for it.

    trial: its number in the entry, from 1. value: the LPIPS by which it is to narrow the entry's interval. seconds: the
    estimate, with what is trained for it first.
    """

    cell: str
    experiment: str
    labels: Mapping[str, Scalar]
    trial: int
    value: float
    seconds: float
    reason: Reason


@dataclass(frozen=True)
class Choice:
    """What of a study is computed or taken over. study: its rest, without experiments that have no cell.

    picks: in the order in which they were chosen. undecided: entries by experiment, before. left_out: cells by
    experiment that are neither chosen nor in an archive, each where it is named first, and the seconds that they would
    take on top. gone: experiments without a cell. minutes: the budget, None for a study that is computed whole.
    """

    study: Study
    minutes: float | None = None
    picks: Sequence[Pick] = ()
    undecided: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    gone: Sequence[str] = ()

    def line(self) -> str:
        """How many cells are chosen and left out, what either takes, and why an experiment is missing; one line."""
        hours = sum(seconds for _, seconds in self.left_out.values()) / 3600
        count = sum(count for count, _ in self.left_out.values())
        taken = sum(pick.seconds for pick in self.picks) / 60
        each = ", ".join(f"{name} {count} ({s / 3600:.2f} h)" for name, (count, s) in self.left_out.items())
        text = f"minutes {self.minutes:g}: {len(self.picks)} cells chosen, about {taken:.1f} minutes; {count} left out"
        text += f", about {hours:.2f} hours: {each}" if count else ""
        return text + (f"; experiments without a cell: {', '.join(self.gone)}" if self.gone else "")


def choose(study: Study, config: Config, known: Mapping[str, float]) -> Choice:
    """The cells of a study to compute in `config.minutes` of one device, one job at a time, and those that are known.

    `known` is the mean LPIPS of the cells that archives have, by id; NaN for one that could not be attacked. All of a
    study is chosen where `minutes` is None. Undecided entries come before decided ones; among either, what closes the
    most of an interval per second. Equal studies, settings and archives give equal choices. Raises UserError where no
    cell is left, and for a model that cannot be built.
    """
    if config.minutes is None:
        return Choice(study)
    cells = {cell.id: cell for cell in study.cells()}
    wanted = {name: cell for name, cell in cells.items() if name not in known}
    check_models(study, wanted)
    entries = _entries(study, known)
    undecided = Counter(entry.experiment for entry in entries if entry.undecided)
    bill = _Bill(settled(study, config))
    picks = list(_Greedy(entries, bill, 60 * config.minutes).picks())
    left = {name: cell for name, cell in wanted.items() if name not in bill.taken}
    kept = cells.keys() - left.keys()
    if not kept:
        raise UserError(
            f"study '{study.name}': no cell fits in {config.minutes:g} minutes, and no archive has any; give more"
        )
    experiments, gone = {}, []
    for name, experiment in study.experiments.items():
        own = [pair for pair in experiment.cells if pair[0].id in kept]
        if own:
            experiments[name] = replace(experiment, cells=own)
        else:
            gone.append(name)
    rest = replace(study, experiments=experiments)
    return Choice(rest, config.minutes, picks, undecided, _priced(study, left, bill), gone)


def _priced(study: Study, left: Mapping[str, Cell], bill: "_Bill") -> dict[str, tuple[int, float]]:
    found: dict[str, tuple[int, float]] = {}
    for name, experiment in study.experiments.items():
        own = {cell.id: cell for cell, _ in experiment.cells if cell.id in left and cell.id not in bill.taken}
        if own:
            found[name] = len(own), sum(bill.take(cell) for cell in own.values())
    return found


@dataclass
class _Entry:
    """An entry while cells are chosen. trials: those that are known or chosen. open: cells that are neither, in order.

    mean, std: of the LPIPS of known trials, None without any. std is that of all entries where it has fewer than two.
    """

    number: int
    experiment: str
    labels: Mapping[str, Scalar]
    open: list[Cell]
    trials: int
    mean: float | None
    std: float
    version: int = 0

    @property
    def value(self) -> float:
        """LPIPS by which the next trial narrows the 95 % interval of the mean.

        An interval of one trial or none is not defined. The second trial counts as much as the third, the first that
        and all of `LPIPS_RANGE`.
        """
        closed = width(max(self.trials, 2), self.std) - width(max(self.trials, 2) + 1, self.std)
        return closed if self.trials else closed + LPIPS_RANGE

    @property
    def undecided(self) -> bool:
        """Whether the verdict is open, as far as is known: of an entry without a known mean until it has two trials."""
        if self.trials < 2:
            return True
        return self.mean is not None and abs(self.mean - TAU_LPIPS) <= width(self.trials, self.std) / 2

    @property
    def reason(self) -> Reason:
        """Why its next trial is worth computing."""
        if not self.trials:
            return "no trial yet"
        return "undecided" if self.undecided else "narrows"


def width(trials: int, std: float) -> float:
    """Width of the 95 % t interval of the mean of two or more trials with this standard deviation."""
    from scipy.special import stdtrit  # a tenth of a second, which every start of a job would take

    return 2 * float(stdtrit(trials - 1, 0.975)) * std / math.sqrt(trials)


def _entries(study: Study, known: Mapping[str, float]) -> list[_Entry]:
    groups: dict[tuple[Any, ...], dict[str, Cell]] = defaultdict(dict)
    labelled: dict[tuple[Any, ...], Mapping[str, Scalar]] = {}
    for name, experiment in study.experiments.items():
        for cell, labels in experiment.cells:
            key = name, tuple(sorted(labels.items())), cell.setting
            groups[key][cell.id] = cell
            labelled[key] = labels
    values = {key: [known[cell] for cell in group if cell in known] for key, group in groups.items()}
    numbers = {key: [value for value in found if math.isfinite(value)] for key, found in values.items()}
    several = [found for found in numbers.values() if len(found) > 1]
    degrees = sum(len(found) - 1 for found in several)
    spread = sum((len(found) - 1) * float(np.var(found, ddof=1)) for found in several)
    pooled = math.sqrt(spread / degrees) if degrees else UNKNOWN_SPREAD
    return [
        _Entry(
            number,
            key[0],
            labelled[key],
            [cell for name, cell in group.items() if name not in known],
            len(values[key]),
            float(np.mean(found)) if (found := numbers[key]) else None,
            float(np.std(found, ddof=1)) if len(found) > 1 else pooled,
        )
        for number, (key, group) in enumerate(groups.items())
    ]


class _Bill:
    """What the cells that were taken cost, so that the next one's seconds are those that come on top.

    Trials of a family share the starts of a pass. A federated training, an auxiliary model and the start of a job are
    paid once, by the cell that asks for them first.
    """

    def __init__(self, config: Config) -> None:
        self._config, self._device = config, config.estimated_device
        self._seconds = recorded_throughput()[self._device].seconds
        self._own: dict[tuple[object, int], float] = {}
        self._needs: dict[object, dict[object, float]] = {}
        self._trials = Counter[str]()
        self._paid: dict[object, float] = {}
        self.taken: set[str] = set()

    def own(self, cell: Cell) -> float:
        """Seconds of its attack, and of its IGSA."""
        key = cell.setting, self._trials[cell.family]
        if key not in self._own:
            found = cost(cell, self._device, key[1]) + smoothness_cost(cell, self._device)
            self._own[key] = self._seconds(found)
        return self._own[key]

    def needs(self, cell: Cell) -> dict[object, float]:
        """Seconds of what must be there before its attack can begin, by what it is, whether it is paid or not."""
        if cell.setting not in self._needs:
            kind = "jobs", cell.dataset.name, cell.model.name, cell.attack.name
            found: dict[object, float] = {kind: _JOBS * JOB_START_S}
            for auxiliary in cell.attack.auxiliaries():
                seconds = self._seconds(auxiliary_cost(auxiliary)) + JOB_START_S
                found["auxiliary", auxiliary_id(auxiliary, self._config)] = seconds
            if cell.model.round:
                seconds = self._seconds(federated_cost(cell, self._config)) + JOB_START_S
                found["training", training_id(cell, self._config)] = seconds
            self._needs[cell.setting] = found
        return self._needs[cell.setting]

    def unpaid(self, cell: Cell) -> dict[object, float]:
        """As `needs`, of what is not paid: of a training that goes on to a later round, the rounds between."""
        due = {need: seconds - self._paid.get(need, 0.0) for need, seconds in self.needs(cell).items()}
        return {need: seconds for need, seconds in due.items() if seconds > 0}

    def total(self, cell: Cell) -> float:
        """Seconds that a cell adds."""
        return self.own(cell) + sum(self.unpaid(cell).values())

    def take(self, cell: Cell) -> float:
        """Take a cell. Returns the seconds that it adds."""
        seconds = self.total(cell)
        self._paid |= {need: self.needs(cell)[need] for need in self.unpaid(cell)}
        self._trials[cell.family] += cell.attack.starts
        self.taken.add(cell.id)
        return seconds


class _Greedy:
    """Takes the open cell with the least seconds per value, again and again, while it fits.

    The price of what must be trained first is shared by the values of all entries whose next trial needs it: a group
    is taken where all of it is worth its training, and its cells follow each other, for their training is paid then.
    A cell of several entries counts once, for the one that it is worth most to.
    """

    def __init__(self, entries: list[_Entry], bill: _Bill, seconds: float) -> None:
        self._entries, self._bill, self._left = [entry for entry in entries if entry.open], bill, seconds
        self._of_cell: dict[str, list[_Entry]] = defaultdict(list)
        self._of_family: dict[str, list[_Entry]] = defaultdict(list)
        self._of_need: dict[object, list[_Entry]] = defaultdict(list)
        for entry in self._entries:
            for cell in entry.open:
                self._of_cell[cell.id].append(entry)
            self._of_family[entry.open[0].family].append(entry)
            for need in bill.needs(entry.open[0]):
                self._of_need[need].append(entry)
        self._heap: list[tuple[float, int, int]] = []

    def picks(self) -> Iterator[Pick]:
        """All that is taken, in order: first of undecided entries, then of any."""
        for every in (False, True):
            self._every = every
            self._heap = []
            self._totals: dict[object, dict[float, float]] = defaultdict(dict)
            self._offer(self._entries)
            yield from self._phase()

    def _phase(self) -> Iterator[Pick]:
        by_number = {entry.number: entry for entry in self._entries}
        while self._heap:
            price, number, version = heapq.heappop(self._heap)
            entry = by_number[number]
            if version != entry.version or not self._open(entry):
                continue
            cell = entry.open[0]
            if self._bill.total(cell) > self._left:
                continue
            # Shared by what can still be afforded, a training may be dearer than it looked.
            if (now := self._price(entry, afforded=True)) > price and self._heap and now > self._heap[0][0]:
                heapq.heappush(self._heap, (now, number, version))
                continue
            yield self._take(entry, cell)

    def _take(self, entry: _Entry, cell: Cell) -> Pick:
        said = entry.experiment, entry.labels, entry.trials + 1, entry.value
        reason = entry.reason
        before, unpaid = self._bill.own(cell), self._bill.unpaid(cell)
        seconds = self._bill.take(cell)
        self._left -= seconds
        changed = {each.number: each for each in self._of_cell[cell.id]}
        for each in changed.values():
            each.open.remove(cell)
            each.trials += 1
        if self._bill.own(cell) != before:
            changed |= {each.number: each for each in self._of_family[cell.family]}
        for need in unpaid:
            self._totals.pop(need, None)
            changed |= {each.number: each for each in self._of_need[need]}
        self._offer(list(changed.values()))
        return Pick(cell.id, *said, seconds, reason)

    def _open(self, entry: _Entry) -> bool:
        return bool(entry.open) and (self._every or entry.undecided)

    def _offer(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            entry.version += 1
            if self._open(entry):
                heapq.heappush(self._heap, (self._price(entry), entry.number, entry.version))

    def _price(self, entry: _Entry, afforded: bool = False) -> float:
        """Seconds per LPIPS of an entry's next trial, with its part of what is trained for it."""
        cell = entry.open[0]
        unpaid = self._bill.unpaid(cell)
        left = self._left - sum(unpaid.values()) if afforded else math.inf
        price = _over(self._bill.own(cell), entry.value)
        return price + sum(_over(due, self._worth(need, cell, left)) for need, due in unpaid.items())

    def _worth(self, need: object, cell: Cell, left: float) -> float:
        """The value of all next trials that can begin once a cell has what it needs, as many as `left` seconds hold."""
        whole = self._bill.needs(cell)[need]
        known = self._totals[need]
        if left == math.inf and whole in known:
            return known[whole]
        values: dict[str, float] = {}
        seconds: dict[str, float] = {}
        for each in self._of_need[need]:
            if self._open(each) and self._bill.needs(each.open[0])[need] <= whole:
                name = each.open[0].id
                values[name] = max(values.get(name, 0.0), each.value)
                seconds[name] = self._bill.own(each.open[0])
        worth = 0.0
        for name in sorted(values, key=lambda name: _over(seconds[name], values[name])):
            if seconds[name] <= left:
                left -= seconds[name]
                worth += values[name]
        if left == math.inf:
            known[whole] = worth
        return worth


def _over(seconds: float, value: float) -> float:
    return seconds / value if value > 0 else math.inf
