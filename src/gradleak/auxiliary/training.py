"""The loop of a training: seeded step by step, and taken up again where it was killed."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gradleak.auxiliary.base import Auxiliary, TrainContext
from gradleak.engine.device import precision
from gradleak.resume import StateFile


def training_steps(
    auxiliary: Auxiliary, steps: int, tensors: dict[str, Tensor], context: TrainContext, stage: str = ""
) -> Iterator[tuple[int, torch.Generator]]:
    """The numbers of the steps that are left of `steps`, each with a CPU generator that the auxiliary model and
    the step seed.

    `tensors` is all that a step changes (`training_tensors`): filled from the state that a killed training left, and
    saved after steps where that is due, and at the end. `stage` tells the trainings of one auxiliary model apart.
    """
    path = context.state
    if path is not None and stage:
        path = path.with_stem(f"{path.stem}-{stage}")
    store = path and StateFile(path, f"{auxiliary.id} {stage} {precision()}", context.save_every_s, context.stop)
    done = store.load(tensors) if store else 0
    if context.progress is not None:
        context.progress(done)
    for step in range(done, steps):
        yield step, torch.Generator().manual_seed(int(auxiliary.id, 16) % 2**32 * 2**24 + step)
        if context.progress is not None:
            context.progress(1)
        if store:
            store.save_if_due(tensors, step + 1)
    if store:
        store.save(tensors, steps)
