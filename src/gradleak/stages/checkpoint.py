"""The untrained global model as a file, which no stage needs; `federate` writes those of later rounds."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from gradleak.errors import UserError
from gradleak.files import write_provenance
from gradleak.stages.common import dataset_of, initial_model, save_weights
from gradleak.study.ids import training_id

if TYPE_CHECKING:
    from gradleak.study.cell import Cell
    from gradleak.study.config import Config


def write_checkpoint(cell: "Cell", config: "Config", out: Path) -> None:
    """Write the checkpoint of round 0 that a cell attacks, with parameters and running statistics, as safetensors.

    Raises UserError for a later round: one training makes all of them.
    """
    if cell.model.round:
        raise UserError(
            f"model.round is {cell.model.round}, not 0: run `gradleak federate --training {training_id(cell, config)}`"
        )
    started = time.time()
    save_weights(initial_model(cell, dataset_of(cell, config)), out)
    write_provenance(out, started, model=cell.model.model_dump(mode="json"), settings=config.numerics)
