"""The jobs of a study as Snakemake runs them: their numbers by rule, their times, and the sums."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table

from gradleak.pipeline.stages import RULES, STAGES
from gradleak.study.cost import JOB_START_S, cost, federated_cost, recorded_throughput, smoothness_cost, throughput
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
    operations = _OPERATIONS[RULES[rule].name](plan, name)
    return GpuJob(rule, name, operations / (rate or throughput(plan.config)) + JOB_START_S)


def gpu_jobs(plan: Plan, rate: float | None = None) -> list[GpuJob]:
    """All jobs that ask for a GPU, if there is one."""
    return [gpu_job(plan, stage.rule, name, rate) for stage in STAGES if stage.gpu for name in stage.ids(plan)]


# By stage, the operations of the job that computes what has an id in the plan.
_OPERATIONS: dict[str, Callable[[Plan, str], float]] = {
    "pretrain": lambda plan, name: plan.auxiliary(name).training_cost(),
    "federate": lambda plan, name: federated_cost(plan.training_cell(name), plan.config),
    "reconstruct": lambda plan, name: sum(map(cost, plan.batch_cells(name))),
    "smoothness": lambda plan, name: sum(map(smoothness_cost, plan.batch_cells(name))),
}


def job_counts(plan: Plan) -> dict[str, int]:
    """Number of jobs of each rule that a cluster runs for a study that is not begun, without rules that have none."""
    counts = {stage.rule: len(stage.ids(plan)) for stage in STAGES if not stage.local}
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
    measured = plan.smoothness_batches
    hours = sum(job.seconds for job in gpu_jobs(plan, rate)) / 3600
    kind = plan.config.estimated_device
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

    def listed(wanted: bool) -> str:
        chosen = {rule: count for rule, count in counts.items() if RULES[rule].gpu == wanted}
        of_each = ", ".join(f"{count} {rule}" for rule, count in chosen.items())
        return f"{sum(chosen.values())} jobs" + (f" ({of_each})" if chosen else "")

    return f"on a cluster {listed(True)} with a GPU, {listed(False)} without"


def _basis(kind: str) -> str:
    entry = recorded_throughput()[kind]
    return f"{'recorded' if entry['measured'] else 'ASSUMED'} throughput: {entry['what']}"
