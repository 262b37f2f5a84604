"""Makes the plan of a study: packs cells into batches of similar cost, and checks that all exists."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gradleak.data.opening import chosen_labels
from gradleak.errors import UserError
from gradleak.frozen import digest
from gradleak.study.cell import Cell
from gradleak.study.checks import check_trainings, check_victims, check_views
from gradleak.study.config import Config
from gradleak.study.cost import JOB_START_S, Cost, cost, forward_cost, recorded_throughput, smoothness_cost
from gradleak.study.expand import Study
from gradleak.study.ids import auxiliary_id, checkpoint_id, source_of, training_id
from gradleak.study.plan import Batch, Plan, without_weights
from gradleak.study.reused import Reused, others, take_over


def make_plan(
    study: Study, config: Config, columns: Mapping[str, Any] | None = None, archives: Sequence[Reused] = ()
) -> Plan:
    """Pack a study's cells into batches of about `config.jobs.minutes`, or the study's; `columns` as in `Plan`.

    Cells that one of `archives` (`archive.reuse.open_archives`) holds are taken over from the first that does. Raises
    UserError where a victim index is beyond the data set. Batches hold cells of one data set, model and
    attack, so that adding an attack to a study leaves the other batches, and their results, as they are. Only models
    whose cells ask for IGSA share a batch, where one holds all of them: they are measured in one job.
    """
    config = settled(study, config)
    minutes = config.jobs.minutes
    assert minutes is not None
    every = {cell.id: cell for cell in study.cells()}
    reused = take_over(every, archives)
    cells = others(every, reused)
    check_models(study, cells)
    check_victims(list(cells.values()), config)
    try:
        check_views(cells.values())
    except UserError as error:
        raise UserError(f"study '{study.name}': {error}") from None
    batches = {batch.id: batch for batch in _batches(cells.values(), config, 60 * minutes)}
    checkpoints = {checkpoint_id(cell, config): cell.id for cell in cells.values()}
    trainings = _trainings(cells, checkpoints, config)
    experiments = {name: experiment.content() for name, experiment in study.experiments.items()}
    needed = [auxiliary for cell in cells.values() for auxiliary in cell.attack.auxiliaries()]
    auxiliaries = {auxiliary_id(auxiliary, config): auxiliary for auxiliary in needed}
    for auxiliary in auxiliaries.values():
        chosen_labels(auxiliary.dataset, config.data, config.cache)
    parts = (config.run or study.name, config, every, batches, checkpoints, trainings, auxiliaries, experiments)
    return Plan(*parts, title=study.title, columns=dict(columns or {}), note=study.note, reused=reused)


def settled(study: Study, config: Config) -> Config:
    """The settings with the study's own, where they say nothing of how its jobs are cut and where they run."""
    minutes = study.jobs.minutes if config.jobs.minutes is None else config.jobs.minutes
    jobs = {"minutes": minutes, "device": config.jobs.device or study.jobs.device}
    return config.model_copy(update={"jobs": config.jobs.model_copy(update=jobs)})


def check_models(study: Study, cells: Mapping[str, Cell]) -> None:
    """Raise UserError naming the experiment whose model cannot be built, or does not take its images."""
    for name, experiment in study.experiments.items():
        for cell in (cell for cell, _ in experiment.cells if cell.id in cells):
            try:
                forward_cost(cell.model, cell.dataset.resolution)
            except UserError as error:
                raise UserError(f"study '{study.name}': experiments.{name}: {error}") from None


def _batches(cells: Iterable[Cell], config: Config, limit: float) -> Iterator[Batch]:
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.dataset.name, cell.model.name, cell.attack.name].append(cell)
    measured: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for key, group in groups.items():
        if any(cell.smoothness is not None for cell in group):
            measured[key[0], key[2]].append(key)
    for first, *more in measured.values():
        together = [cell for key in (first, *more) for cell in groups[key]]
        if more and len(_pack(together, config, limit)) == 1:
            groups[first] = together
            for key in more:
                del groups[key]
    for group in groups.values():
        yield from _pack(group, config, limit)


def _pack(cells: list[Cell], config: Config, limit: float) -> list[Batch]:
    """Cells in batches of at most `limit` seconds, but for single cells that take longer.

    Families together, so that their cells share a job and run vectorised; those that differ in the weights next to each
    other.
    """
    alike = {cell.family: without_weights(cell) for cell in cells}
    first = {key: index for index, key in reversed([*enumerate(alike.values())])}
    order = {family: (first[key], index) for index, (family, key) in enumerate(alike.items())}
    device = config.estimated_device
    seconds = recorded_throughput()[device].seconds
    batches: list[Batch] = []
    current: list[Cell] = []
    attack = measure = Cost()
    trials = Counter[str]()  # of each family in the current batch
    for cell in sorted(cells, key=lambda cell: order[cell.family]):
        costs = cost(cell, device, trials[cell.family]), smoothness_cost(cell, device)
        # A batch is one job that attacks and one that measures: neither shall be longer.
        if current and max(seconds(attack + costs[0]), seconds(measure + costs[1])) > limit:
            batches.append(_batch(current, seconds(attack), config))
            current, attack, measure, trials = [], Cost(), Cost(), Counter()
            costs = cost(cell, device), costs[1]
        current.append(cell)
        attack, measure = attack + costs[0], measure + costs[1]
        trials[cell.family] += cell.attack.starts
    return [*batches, _batch(current, seconds(attack), config)]


def _batch(cells: list[Cell], seconds: float, config: Config) -> Batch:
    ids = [cell.id for cell in cells]
    name = digest([ids, {name: source_of(name, config) for cell in cells for name in cell.datasets}])
    checkpoints = list(dict.fromkeys(checkpoint_id(cell, config) for cell in cells))
    needed = [auxiliary_id(auxiliary, config) for cell in cells for auxiliary in cell.attack.auxiliaries()]
    return Batch(name, ids, checkpoints, list(dict.fromkeys(needed)), round(seconds + JOB_START_S, 1))


def _trainings(cells: dict[str, Cell], checkpoints: dict[str, str], config: Config) -> dict[str, list[str]]:
    """The checkpoints of later rounds by training, in the order of rounds."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, cell in sorted(checkpoints.items(), key=lambda item: cells[item[1]].model.round):
        if cells[cell].model.round:
            found[training_id(cells[cell], config)].append(name)
    check_trainings([cells[checkpoints[names[0]]] for names in found.values()], config)
    return dict(found)
