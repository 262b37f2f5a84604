"""The parts of a cell that several stages need: its data set, and its model at the checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gradleak.data.base import ImageDataset
from gradleak.data.opening import open_view
from gradleak.errors import UserError
from gradleak.models.base import Classifier, build_model, set_bn_mode
from gradleak.study.ids import checkpoint_id
from gradleak.tensors import write_tensors

if TYPE_CHECKING:
    from gradleak.study.cell import Cell
    from gradleak.study.config import Config


def dataset_of(cell: "Cell", config: "Config") -> ImageDataset:
    """The images that a cell's victims come from: those of its chosen classes, with the labels that its model has."""
    return open_view(cell.dataset, config.data, config.cache, cell.model.channels)


def initial_model(cell: "Cell", dataset: ImageDataset) -> Classifier:
    """The cell's model with the weights of round 0, for the classes and normalisation of `dataset` (see `dataset_of`).

    Later rounds have the same architecture and other weights: see `global_model`.
    """
    return build_model(cell.model, dataset.num_classes, cell.dataset.resolution, dataset.mean, dataset.std)


def checkpoint_path(folder: Path, cell: "Cell", config: "Config") -> Path:
    """The path of the checkpoint that a cell attacks."""
    return folder / f"{checkpoint_id(cell, config)}.safetensors"


def global_model(cell: "Cell", config: "Config", checkpoints: Path) -> Classifier:
    """The global model that the client received, BN in the client's mode: of round 0, or with a checkpoint's weights.

    Raises UserError if the checkpoint of a later round is missing or damaged.
    """
    model = initial_model(cell, dataset_of(cell, config))
    if cell.model.round:
        _load_weights(model, cell, checkpoint_path(checkpoints, cell, config))
    set_bn_mode(model, cell.client.bn_mode)
    return model


def _load_weights(model: nn.Module, cell: "Cell", path: Path) -> None:
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: checkpoint is missing; run `gradleak federate`") from None
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a checkpoint of model '{cell.model.name}' ({reason[:200]})") from None


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's parameters and buffers as a checkpoint, atomically."""
    write_tensors(model.state_dict(), path)
