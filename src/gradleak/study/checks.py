"""Checks that what a study asks for exists: victims, images of trainings, parameters of gradient views."""

from collections.abc import Iterable

from gradleak.data.base import DATASETS, ImageDataset, Split
from gradleak.data.opening import chosen_labels, open_view
from gradleak.errors import UserError
from gradleak.models.facts import model_facts
from gradleak.specs import DatasetSpec
from gradleak.study.cell import Cell
from gradleak.study.config import Config


def highest_victims(cells: Iterable[Cell]) -> list[tuple[DatasetSpec, int]]:
    """The highest victim index for each data set with its choice of classes (sizes do not depend on resolution)."""
    highest: dict[str, tuple[DatasetSpec, int]] = {}
    for cell in cells:
        key = cell.dataset.model_dump_json(exclude={"resolution"})
        top = max(cell.victims)
        if key not in highest or top > highest[key][1]:
            highest[key] = (cell.dataset, top)
    return list(highest.values())


def check_victim(spec: DatasetSpec, top: int, size: int) -> None:
    """Raises UserError if victim index `top` is beyond a data set of which `size` test images are chosen."""
    if top >= size:
        allowed = f" (0 to {size - 1})" if size else ""
        raise UserError(
            f"victim index {top}: the test split of data set '{spec.name}' has "
            f"{size} images{spec.selection_text}{allowed}"
        )


def check_training(cell: Cell, dataset: ImageDataset) -> None:
    """Raises UserError if a federated training wants more images than a split of its data set has."""
    spec = cell.model.training
    assert spec is not None
    wanted: list[tuple[str, Split, int | None]] = [
        ("images", "train", spec.images),
        ("evaluate", "test", spec.evaluate),
        ("clients", "train", spec.clients),
        ("victim_images", "train", spec.victim_images),
    ]
    for key, split, count in wanted:
        if count is not None and count > dataset.size(split):
            raise UserError(
                f"model.training.{key} is {count}, but split '{split}' of data set '{dataset.name}' has "
                f"{dataset.size(split)} images"
            )


def check_trainings(cells: Iterable[Cell], config: Config) -> None:
    """`check_training` of the federated trainings of cells, as far as their images are there."""
    for cell in cells:
        dataset = _there(cell.training_data, config)
        if dataset is not None:
            check_training(cell, dataset)


def check_victims(cells: Iterable[Cell], config: Config) -> None:
    """Raises UserError for a class, label or victim that a data set does not have, as far as its images are there."""
    for spec, top in highest_victims(cells):
        # First, because a misspelt class is found even if the images are not downloaded yet.
        chosen_labels(spec, config.data, config.cache)
        dataset = _there(spec, config)
        if dataset is not None:
            check_victim(spec, top, dataset.size("test"))
            if spec.name in config.data:  # others have no label that is no class
                dataset.labels("test", range(dataset.size("test")))


def check_views(cells: Iterable[Cell]) -> None:
    """Raises UserError for a gradient view that names what its model does not have."""
    for cell in cells:
        view = cell.attack.matched()
        if view is not None:
            model_facts(cell.model, 10, cell.dataset.resolution, view)  # names do not depend on the number of classes


def _there(spec: DatasetSpec, config: Config) -> ImageDataset | None:
    """The data set, or None if it is not downloaded yet: the data stage looks again before anything is computed."""
    try:
        dataset = open_view(spec, config.data, config.cache)
        dataset.size("test")
    except UserError:
        if spec.name in DATASETS and spec.name not in config.data:
            return None
        raise
    return dataset
