"""Stage `reconstruct`: runs the attacks of a batch on the shared updates. Never sees a victim image."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gradleak.attacks.base import Reconstruction, RunContext, Trial
from gradleak.engine.device import device_facts
from gradleak.federated.shared_update import SharedUpdate
from gradleak.files import write_provenance
from gradleak.models.base import MODELS
from gradleak.pipeline.code import code_digest
from gradleak.post_processing.chain import origins
from gradleak.resume import own_folder
from gradleak.stages.auxiliaries import auxiliary_loader
from gradleak.stages.common import global_model
from gradleak.stages.session import Session
from gradleak.stages.update import read_facts, read_updates
from gradleak.study.cell import Cell
from gradleak.study.plan import Plan
from gradleak.tensors import write_tensors


def write_reconstructions(
    plan: Plan, batch: str, updates: Path, checkpoints: Path, auxiliaries: Path, out: Path, session: Session
) -> list[str]:
    """Attack every cell of a batch and write images, objectives, iterations, and facts of the update as received.

    Returns a line for each reason why updates were not attacked. Of such a cell there is a name under `unattacked/`.

    A run is a family, or several that differ in the checkpoint's weights only where that is faster (`Attack.joins`).

    State is kept in `<out>.state/` while the job runs: killed at any moment, a rerun goes on from the last saved
    iteration and writes the same bytes. If the code has changed meanwhile, it begins anew. Raises Stopped, with its
    state saved, once `session.stop()` is true.
    """
    started = time.time()
    every = plan.batch_cells(batch)
    parts = [module for cell in every for module in (*cell.attack.origins(), *origins(cell.post_processing))]
    models = [MODELS.origin(cell.model.name) for cell in every]
    code = code_digest(["gradleak.stages.reconstruct", *parts, *models])
    state = own_folder(out.with_name(out.name + ".state"), code)
    content: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}
    reasons: list[str] = []
    for families in runs(plan, batch, lambda cell: global_model(cell, plan.config, checkpoints), session.device):
        begun = time.time()
        shared = []
        for family in families:
            shared += read_updates(updates, family, global_model(family[0], plan.config, checkpoints))
        cells = [cell for family in families for cell in family]
        content |= read_facts(updates, cells)
        context = RunContext(
            device=session.device,
            state=state / cells[0].family,
            save_every_s=plan.config.jobs.save_every_s,
            progress=session.progress(_label(families), cells[0].attack.total_iterations),
            stop=session.stop,
            auxiliary=auxiliary_loader(plan.config, auxiliaries),
        )
        found = attack_family(cells, shared, context)
        for index, cell in enumerate(cells):
            content[f"{cell.id}/images"] = found.images[index]
            content[f"{cell.id}/objective"] = found.objective[index]
            content[f"{cell.id}/iterations"] = found.iterations[index]
            if found.points is not None:
                content[f"{cell.id}/points"] = found.points[index]
            if index in found.unattacked:
                content[f"{cell.id}/unattacked/{found.unattacked[index]}"] = torch.tensor(True)
        reasons += found.unattacked.values()
        share = (time.time() - begun) / len(families)
        seconds |= {family[0].family: round(share, 3) for family in families}
    write_tensors(content, out)
    facts = {"settings": plan.config.numerics, **device_facts(session.device)}
    write_provenance(out, started, batch=batch, family_seconds=seconds, **facts)
    shutil.rmtree(state, ignore_errors=True)
    total = len(plan.batch_cells(batch))
    return [
        f"{count} of {total} cells of the batch are not attacked and have no metrics: {reason}"
        for reason, count in Counter(reasons).items()
    ]


def runs(plan: Plan, batch: str, model_of: Callable[[Cell], nn.Module], device: str) -> Iterator[list[list[Cell]]]:
    """The families of a batch, grouped into runs: trials of one architecture may be attacked together."""
    for families in plan.joinable(batch):
        cell = families[0][0]
        images = max(len(family) for family in families) * cell.attack.starts * cell.client.samples
        if len(families) > 1 and cell.attack.joins(model_of(cell), images, device):
            yield families
        else:
            yield from ([family] for family in families)


def attack_family(family: list[Cell], shared: list[SharedUpdate], context: RunContext) -> Reconstruction:
    """Attack the updates of one run's cells, those in which there is something to attack.

    Every random draw is seeded by its cell's id.
    """
    trials = [Trial(cell.attack, update, int(cell.id, 16)) for cell, update in zip(family, shared, strict=True)]
    reasons = {index: trial.attack.obstacle(trial, context) for index, trial in enumerate(trials)}
    unattacked = {index: reason for index, reason in reasons.items() if reason is not None}
    attacked = [index for index in range(len(trials)) if index not in unattacked]
    attack, update = trials[0].attack, trials[0].update
    if attacked:
        found = attack.run([trials[index] for index in attacked], context)
    elif context.progress is not None:
        context.progress(attack.total_iterations)
    if not unattacked:
        return found
    shape = len(trials), attack.starts
    images = torch.full((*shape, update.samples, *update.image_shape), 0.5)
    objective = torch.full(shape, torch.nan, dtype=torch.float64)
    iterations, points = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.float64)
    if attacked:
        images[attacked], objective[attacked], iterations[attacked] = found.images, found.objective, found.iterations
        if found.points is not None:
            points[attacked] = found.points
    return Reconstruction(images, objective, iterations, points, unattacked)


def _label(families: list[list[Cell]]) -> str:
    cell, count = families[0][0], sum(len(family) for family in families)
    of = f" of {len(families)} checkpoints" if len(families) > 1 else ""
    return f"{cell.attack.name} {cell.model.name} N={cell.client.samples}, {count} updates{of}"
