"""A rehearsal of a study's end before its beginning: whether its results will have what its experiments show."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from gradleak.analysis.experiment import StudyData
from gradleak.errors import UserError, first_line
from gradleak.metrics.base import columns
from gradleak.post_processing.privacy import DELTA, bounded_noise
from gradleak.presentations.markup import check_math
from gradleak.presentations.read import ShownExperiment, parse_experiment
from gradleak.study.plan import Plan

# Of `results.parquet`, the columns that stages measure: any number will do.
_MEASURED = (
    *("objective", "iterations", "model_parameters", "model_skips", "params_ratio", "update_bytes", "update_cosine"),
    *("client_loss_before", "client_loss_after"),
)
_IGSA = ("igsa", "igsa_standard_error", "igsa_low", "igsa_high", "igsa_samples")


def rehearse(plan: Plan) -> None:
    """Raise UserError for what an experiment shows and its results will not have: a kind, column, label, or value."""
    thinned = {name: _few_trials(experiment, plan) for name, experiment in _shown(plan).items()}
    for name, number, error in _unshown(plan, thinned):
        raise UserError(f"study '{plan.study}': experiments.{name}.show[{number}]: {error}")


def showable(plan: Plan) -> tuple[Plan, list[str]]:
    """The plan without the entries of `show` that a part of a study lacks cells for, and a line for each of them.

    Raises UserError for a kind that there is not, and for words and names of files that cannot be.
    """
    lines, without = [], {name: [*content["show"]] for name, content in plan.experiments.items()}
    # A part may have other trials of one setting than of another, so all of them count.
    for name, number, error in reversed([*_unshown(plan, _shown(plan))]):
        kind = without[name].pop(number)["kind"]
        lines.append(f"not shown yet: {kind} of {name}: {first_line(error)}")
    experiments = {name: {**content, "show": without[name]} for name, content in plan.experiments.items()}
    return replace(plan, experiments=experiments), lines[::-1]


def _shown(plan: Plan) -> dict[str, ShownExperiment]:
    """The experiments with what they show, whose words and names of files are checked."""
    where = f"study '{plan.study}'"
    shown = {name: parse_experiment(name, content, where, plan.columns) for name, content in plan.experiments.items()}
    for name, content in plan.experiments.items():
        check_math(content, f"{where}: experiments.{name}")
    writers: dict[str, str] = {}
    for name, experiment in shown.items():
        for file in (file for entry in experiment.show for file in entry.files(name)):
            other = writers.setdefault(file.lower(), name)
            if other != name:
                raise UserError(f"{where}: experiments '{other}' and '{name}' both write {file}; rename one of them")
    return shown


def _unshown(plan: Plan, shown: Mapping[str, ShownExperiment]) -> Iterator[tuple[str, int, UserError]]:
    """Of experiments, their names, the numbers of what cannot be shown, and why."""
    names = dict.fromkeys(cell for experiment in shown.values() for cell in experiment.cells["cell_id"])
    factors = pd.DataFrame(_factors(plan, names)).set_index("cell_id", drop=False)
    for name, experiment in shown.items():
        cells = list(dict.fromkeys(experiment.cells["cell_id"]))
        results = _rows(factors.loc[cells], [plan.cells[cell].victims for cell in cells])
        for number, entry in enumerate(experiment.show):
            try:
                entry.check(experiment, StudyData(plan.study, results))
            except UserError as error:
                yield name, number, error


def _few_trials(experiment: ShownExperiment, plan: Plan) -> ShownExperiment:
    """The experiment with two trials of each kind: others differ in victims and seed only."""
    kinds: dict[object, int] = {}
    cells = [plan.cells[name] for name in experiment.cells["cell_id"]]
    content = [(cell.family, cell.client, cell.post_processing, cell.smoothness) for cell in cells]
    numbers = [kinds.setdefault(kind, len(kinds)) for kind in content]
    labels = [experiment.cells[name] for name in experiment.labels]
    trial = experiment.cells.groupby([pd.Series(numbers, experiment.cells.index), *labels], dropna=False).cumcount()
    return replace(experiment, cells=experiment.cells[trial < 2].reset_index(drop=True))


def _factors(plan: Plan, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """For each named cell of a plan its factors, and some number for each column that stages measure."""
    # Of a cell from an archive, the archive's rows say what was measured.
    measuring = plan.accuracies().keys() | plan.accuracies_before().keys() | (plan.cells.keys() - plan.computed.keys())
    measured = dict.fromkeys([*columns(), *plan.columns, *_MEASURED], 0.5)
    for name in names:
        cell = plan.cells[name]
        factors = cell.factors()
        private = bounded_noise(cell.post_processing) is not None
        yield {
            **factors,
            **measured,
            **({"surrogate_alpha": 0.5} if factors.get("attack_surrogate_alpha") else {}),
            **({"model_accuracy": 0.5} if name in measuring else {}),
            **(dict.fromkeys(_IGSA, 0.5) if cell.smoothness is not None else {}),
            **({"epsilon": 0.5, "epsilon_delta": DELTA} if private else {"epsilon": None, "epsilon_delta": None}),
            **{"cell_id": name, "restart": 0, "chosen": True, "label": 0},
        }


def _rows(factors: pd.DataFrame, victims: list[tuple[int, ...]]) -> pd.DataFrame:
    """A row for each victim of each cell, as in `results.parquet`."""
    rows = factors.loc[[name for name, images in zip(factors.index, victims, strict=True) for _ in images]]
    places = [(position, image) for images in victims for position, image in enumerate(images)]
    return rows.reset_index(drop=True).join(pd.DataFrame(places, columns=["position", "image"]))
