"""The jobs of a study as Snakemake runs them: their numbers by rule, their times, and the sums."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table

from gradleak.pipeline.progress import Job, Work
from gradleak.pipeline.stages import RULES, STAGES
from gradleak.study.cell import Cell
from gradleak.study.cost import (
    JOB_START_S,
    Cost,
    Throughput,
    auxiliary_cost,
    batch_cost,
    federated_cost,
    recorded_throughput,
    smoothness_cost,
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


def gpu_job(plan: Plan, rule: str, name: str, rate: Throughput | None = None) -> GpuJob:
    """A job of one of the rules that ask for a GPU; `rate` replaces the recorded throughput."""
    seconds = (rate or recorded_throughput()[plan.config.estimated_device]).seconds
    return GpuJob(rule, name, seconds(_COSTS[RULES[rule].name](plan, name)) + JOB_START_S)


def gpu_jobs(plan: Plan, rate: Throughput | None = None) -> list[GpuJob]:
    """All jobs that ask for a GPU, if there is one."""
    return [gpu_job(plan, stage.rule, name, rate) for stage in STAGES if stage.gpu for name in stage.ids(plan)]


def _attack(plan: Plan, cells: Iterable[Cell]) -> Cost:
    return batch_cost(cells, plan.config.estimated_device)


def _measurement(plan: Plan, cells: Iterable[Cell]) -> Cost:
    return sum((smoothness_cost(cell, plan.config.estimated_device) for cell in cells), Cost())


# By stage, the cost of the job that computes what has an id in the plan.
_COSTS: dict[str, Callable[[Plan, str], Cost]] = {
    "pretrain": lambda plan, name: auxiliary_cost(plan.auxiliary(name)),
    "federate": lambda plan, name: federated_cost(plan.training_cell(name), plan.config),
    "reconstruct": lambda plan, name: _attack(plan, plan.batch_cells(name)),
    "smoothness": lambda plan, name: _measurement(plan, plan.batch_cells(name)),
}


def work(plan: Plan, jobs: Iterable[tuple[str, Mapping[str, str]]], results: Path) -> Work:
    """What a run has to do whose jobs Snakemake names by rule and wildcards; `results` is the study's folder.

    A job without an estimate counts as long as a job's start. Experiments of which the run leaves a cell unscored are
    left out.
    """
    found = [Job.of(rule, wildcards) for rule, wildcards in jobs]
    seconds = {job: _estimate(plan, job) for job in found}
    waits: dict[str, list[str]] = {}
    shard = RULES["score_batch"].output
    batches = {cell: batch.id for batch in plan.batches.values() for cell in batch.cells}
    for name, experiment in plan.experiments.items():
        own = dict.fromkeys(batches[entry["cell_id"]] for entry in experiment["cells"] if entry["cell_id"] in batches)
        ahead = [batch for batch in own if Job("score_batch", batch) in seconds]
        if all((results / shard.format(batch)).exists() for batch in own if batch not in ahead):
            waits[name] = ahead
    return Work(plan.study, seconds, {name: plan.experiments[name]["title"] for name in waits}, waits)


def _estimate(plan: Plan, job: Job) -> float:
    stage = RULES.get(job.rule)
    known = stage is not None and stage.gpu and job.id in stage.ids(plan)
    return gpu_job(plan, *job).seconds if known else JOB_START_S


def job_counts(plan: Plan) -> dict[str, int]:
    """Number of jobs of each rule that a cluster runs for a study that is not begun, without rules that have none."""
    counts = {stage.rule: len(stage.ids(plan)) for stage in STAGES if not stage.local}
    return {rule: count for rule, count in counts.items() if count}


def plan_summary(plan: Plan, rate: Throughput | None = None) -> Group:
    """What a study will do and cost, for the terminal; `rate` replaces the recorded throughput."""
    kind = plan.config.estimated_device
    speed = rate or recorded_throughput()[kind]
    table = Table(title=f"study {plan.study}", box=None, title_justify="left")
    for column in ("experiment", "cells", "images", "hours"):
        table.add_column(column, justify="left" if column == "experiment" else "right")
    for name, experiment in plan.experiments.items():
        ids = dict.fromkeys(entry["cell_id"] for entry in experiment["cells"])
        images = sum(plan.cells[i].client.samples * plan.cells[i].attack.starts for i in ids)
        cells = [plan.computed[i] for i in ids if i in plan.computed]
        hours = speed.seconds(_attack(plan, cells) + _measurement(plan, cells)) / 3600
        table.add_row(name, str(len(ids)), str(images), f"{hours:.2f}")
    trials = sum(cell.attack.starts for cell in plan.computed.values())
    families = len({cell.family for cell in plan.computed.values()})
    measured = plan.smoothness_batches
    hours = sum(job.seconds for job in gpu_jobs(plan, rate)) / 3600
    measuring = f"{len(measured)} IGSA jobs, " if measured else ""
    basis = speed.what if rate else f"{'recorded' if speed.measured else 'ASSUMED'} throughput: {speed.what}"
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
