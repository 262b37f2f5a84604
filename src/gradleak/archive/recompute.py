"""Computing some cells of a study again, through the same stages."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from gradleak.cell import Cell
from gradleak.config import Config, JobConfig
from gradleak.plan import Plan, make_plan
from gradleak.stages.checkpoint import write_checkpoint
from gradleak.stages.federate import write_training
from gradleak.stages.pretrain import write_auxiliary
from gradleak.stages.reconstruct import write_reconstructions
from gradleak.stages.score import write_scores
from gradleak.stages.tables import read_parquet
from gradleak.stages.update import write_updates
from gradleak.study import Experiment, Study

Progress = Callable[[str, int], Callable[[int], None]]
# One job, however long.
_ONE_JOB = JobConfig(minutes=1e9)


def plan_of(cells: list[Cell], config: Config) -> Plan:
    """A plan of these cells alone, which agree in data set, model and attack, with one batch.

    Raises UserError where the data set lacks a victim or class.
    """
    experiment = Experiment("", "", [], [(cell, {}) for cell in cells])
    return make_plan(Study("verify", "", {"cells": experiment}), config.model_copy(update={"jobs": _ONE_JOB}))


def recompute(plan: Plan, folder: Path, device: str, progress: Progress) -> pd.DataFrame:
    """Run the stages of a plan with one batch in a folder; returns the batch's rows as `gradleak score` writes them.

    What the folder holds already of checkpoints, trainings and auxiliary models is kept.
    """
    (batch,) = plan.batches
    checkpoints, auxiliaries = folder / "checkpoints", folder / "auxiliary"
    for name, cell in plan.checkpoints.items():
        path = checkpoints / f"{name}.safetensors"
        if plan.cells[cell].model.round == 0 and not path.exists():
            write_checkpoint(plan.cells[cell], plan.config, path)
    for training in plan.trainings:
        rounds = {number: checkpoints / f"{name}.safetensors" for number, name in plan.rounds(training).items()}
        out = folder / "trainings" / f"{training}.parquet"
        write_training(plan.training_cell(training), rounds, plan.config, out, device, progress)
    for name, auxiliary in plan.auxiliaries.items():
        path = auxiliaries / f"{name}.safetensors"
        if not path.exists():
            write_auxiliary(auxiliary, plan.config, path, device, progress)
    updates, found = (folder / kind / f"{batch}.safetensors" for kind in ("updates", "reconstructions"))
    write_updates(plan, batch, checkpoints, updates)
    write_reconstructions(plan, batch, updates, checkpoints, auxiliaries, found, device, progress)
    shard, images = folder / "shards" / f"{batch}.parquet", folder / "images" / f"{batch}.parquet"
    write_scores(plan, batch, found, shard, images)
    return read_parquet(shard)
