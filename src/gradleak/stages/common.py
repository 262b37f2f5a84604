"""What several stages need of a cell: its data set and its model at the checkpoint."""

from pathlib import Path

from safetensors.torch import load_file

from gradleak.cell import Cell
from gradleak.config import Config
from gradleak.data.base import ImageDataset
from gradleak.data.view import open_view
from gradleak.errors import UserError
from gradleak.models.base import Classifier, build_model, set_bn_mode
from gradleak.plan import checkpoint_id


def dataset_of(cell: Cell, config: Config) -> ImageDataset:
    """The images that a cell's victims come from: those of its chosen classes, with the labels that its model has."""
    return open_view(cell.dataset, config.data, config.cache)


def initial_model(cell: Cell, dataset: ImageDataset) -> Classifier:
    """The cell's model at round 0, for the classes and normalisation of `dataset` (see `dataset_of`).

    Raises UserError for a later round.
    """
    if cell.model.round:
        raise UserError(f"model.round is {cell.model.round}; this version has round 0 (initialisation) only")
    return build_model(cell.model, dataset.num_classes, cell.dataset.resolution, dataset.mean, dataset.std)


def checkpoint_path(folder: Path, cell: Cell, config: Config) -> Path:
    """Where the checkpoint that a cell attacks lies."""
    return folder / f"{checkpoint_id(cell, config)}.safetensors"


def global_model(cell: Cell, config: Config, checkpoints: Path) -> Classifier:
    """The global model that the client received: the checkpoint's weights, BN in the client's mode."""
    path = checkpoint_path(checkpoints, cell, config)
    if not path.exists():
        raise UserError(f"{path}: checkpoint is missing; run `gradleak train`")
    model = initial_model(cell, dataset_of(cell, config))
    model.load_state_dict(load_file(path))
    set_bn_mode(model, cell.client.bn_mode)
    return model
