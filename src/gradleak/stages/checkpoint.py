"""Stage `train`: the global model of a federated round as a checkpoint file."""

import time
from pathlib import Path

from safetensors.torch import save_file

from gradleak.cell import Cell
from gradleak.config import Config
from gradleak.files import atomic, write_provenance
from gradleak.stages.common import dataset_of, initial_model


def write_checkpoint(cell: Cell, config: Config, out: Path) -> None:
    """Write the checkpoint that a cell attacks, with parameters and running statistics, as safetensors."""
    started = time.time()
    model = initial_model(cell, dataset_of(cell, config))
    with atomic(out) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)
    write_provenance(out, started, model=cell.model.model_dump(mode="json"))
