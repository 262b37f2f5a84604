"""Ids of checkpoints, trainings and auxiliary models, which cells share: their content and their images' source."""

from typing import TYPE_CHECKING

from gradleak.frozen import digest

if TYPE_CHECKING:
    from gradleak.auxiliary.base import Auxiliary
    from gradleak.study.cell import Cell
    from gradleak.study.config import Config


def checkpoint_id(cell: "Cell", config: "Config") -> str:
    """Id of the checkpoint that a cell attacks: its content and where the data set of its labels comes from."""
    return digest([cell.checkpoint, source_of(cell.dataset.labels_of, config)])


def training_id(cell: "Cell", config: "Config") -> str:
    """Id of the federated training whose round a cell attacks: its content and where its images come from."""
    return digest([cell.training, source_of(cell.training_data.name, config)])


def auxiliary_id(auxiliary: "Auxiliary", config: "Config") -> str:
    """Id of an auxiliary model: its content and where its public images come from."""
    names = sorted({auxiliary.dataset.name, auxiliary.dataset.labels_of})
    return digest([auxiliary.id, [source_of(name, config) for name in names]])


def source_of(name: str, config: "Config") -> object:
    """The source of a data set's images in the config, or None for its own source."""
    source = config.data.get(name)
    return None if source is None else source.model_dump(mode="json")
