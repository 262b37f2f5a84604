"""The jobs of a study as Snakemake runs them: how many of each rule, how long they take, and what that sums up to."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table

from gradleak.study.cost import (
    JOB_START_S,
    cost,
    federated_cost,
    recorded_throughput,
    smoothness_cost,
    throughput,
)
from gradleak.study.plan import Plan


@dataclass(frozen=True)
class GpuJob:
    """A job that asks for a GPU: its rule, the id in the plan of what it computes, and its estimated seconds."""

    rule: str
    id: str
    seconds: float

    @property
    def limit_min(self) -> int:
        """Minutes that the job may take at its first attempt: twice the estimate and ten."""
        return 10 + math.ceil(2 * self.seconds / 60)


def gpu_job(plan: Plan, rule: str, name: str, rate: float | None = None) -> GpuJob:
    """A job of one of the rules that ask for a GPU; `rate` replaces the recorded operations per second."""
    return GpuJob(rule, name, _OPERATIONS[rule](plan, name) / (rate or throughput(plan.config)) + JOB_START_S)


def gpu_jobs(plan: Plan, rate: float | None = None) -> list[GpuJob]:
    """All jobs that ask for a GPU, if there is one."""
    return [gpu_job(plan, rule, name, rate) for rule, names in _gpu_ids(plan).items() for name in names]


def _gpu_ids(plan: Plan) -> dict[str, Collection[str]]:
    """By rule that asks for a GPU, the ids of what its jobs compute."""
    return {
        "train_auxiliary": plan.auxiliaries,
        "train_federated": plan.trainings,
        "run_attack": plan.batches,
        "measure_smoothness": plan.measured(),
    }


def _attack(plan: Plan, batch: str) -> float:
    return sum(map(cost, plan.batch_cells(batch)))


def _smoothness(plan: Plan, batch: str) -> float:
    return sum(map(smoothness_cost, plan.batch_cells(batch)))


def _federated(plan: Plan, training: str) -> float:
    return federated_cost(plan.training_cell(training), plan.config)


def _auxiliary(plan: Plan, auxiliary: str) -> float:
    return plan.auxiliary(auxiliary).training_cost()


_OPERATIONS: dict[str, Callable[[Plan, str], float]] = {
    "train_auxiliary": _auxiliary,
    "train_federated": _federated,
    "run_attack": _attack,
    "measure_smoothness": _smoothness,
}


def job_counts(plan: Plan) -> dict[str, int]:
    """Number of jobs of each rule that a cluster runs for a study of which nothing is there yet; none that are 0."""
    counts = {
        "train_checkpoint": len(plan.checkpoints) - sum(map(len, plan.trainings.values())),
        "compute_updates": len(plan.batches),
        "score_batch": len(plan.batches),
        "show_auxiliary": len(plan.auxiliaries),
        **{rule: len(names) for rule, names in _gpu_ids(plan).items()},
    }
    return {rule: count for rule, count in counts.items() if count}


def plan_summary(plan: Plan, rate: float | None = None) -> Group:
    """What a study will do and cost, for the terminal; `rate` replaces the recorded operations per second."""
    speed = rate or throughput(plan.config)
    seconds = {name: (cost(cell) + smoothness_cost(cell)) / speed for name, cell in plan.computed.items()}
    table = Table(title=f"study {plan.study}", box=None, title_justify="left")
    for column in ("experiment", "cells", "images", "hours"):
        table.add_column(column, justify="left" if column == "experiment" else "right")
    for name, experiment in plan.experiments.items():
        ids = dict.fromkeys(entry["cell_id"] for entry in experiment["cells"])
        images = sum(plan.cells[i].client.samples * plan.cells[i].attack.restarts for i in ids)
        table.add_row(name, str(len(ids)), str(images), f"{sum(seconds.get(i, 0.0) for i in ids) / 3600:.2f}")
    trials = sum(cell.attack.restarts for cell in plan.computed.values())
    families = len({cell.family for cell in plan.computed.values()})
    measured = plan.measured()
    hours = sum(job.seconds for job in gpu_jobs(plan, rate)) / 3600
    kind = "cuda" if plan.config.device == "cuda" else "cpu"
    measuring = f"{len(measured)} IGSA jobs, " if measured else ""
    basis = "measured on this machine" if rate else _basis(kind)
    begin = "to compute: " if plan.reused else ""
    total = (
        f"{begin}{len(plan.computed)} cells ({trials} trials in {families} families), "
        f"{len(plan.checkpoints)} checkpoints, {len(plan.trainings)} federated trainings, "
        f"{len(plan.auxiliaries)} auxiliary models, "
        f"{len(plan.batches)} attack jobs, {measuring}about {hours:.2f} device hours ({kind}; {basis})"
    )
    return Group(table, *reused_lines(plan), total, _jobs_line(plan))


def reused_lines(plan: Plan) -> list[str]:
    """For each archive that the config names, how many cells of a study come from it."""
    found = {entry.archive: len(entry.cells) for entry in plan.reused}
    return [
        f"{found.get(str(folder), 0)} of {len(plan.cells)} cells come from {folder}" for folder in plan.config.reuse
    ]


def _jobs_line(plan: Plan) -> str:
    counts = job_counts(plan)
    with_gpu = _gpu_ids(plan)

    def listed(wanted: bool) -> str:
        chosen = {rule: count for rule, count in counts.items() if (rule in with_gpu) == wanted}
        of_each = ", ".join(f"{count} {rule}" for rule, count in chosen.items())
        return f"{sum(chosen.values())} jobs" + (f" ({of_each})" if chosen else "")

    return f"on a cluster {listed(True)} with a GPU, {listed(False)} without"


def _basis(kind: str) -> str:
    entry = recorded_throughput()[kind]
    return f"{'recorded' if entry['measured'] else 'ASSUMED'} throughput: {entry['what']}"
