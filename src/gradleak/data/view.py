"""Views of a data set: only the images of some classes, in its own or in another data set's label space."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from gradleak.cell import DatasetSpec
from gradleak.data.base import DATASETS, DEFAULT_CACHE, DataSource, ImageDataset, Split, Triple, open_dataset
from gradleak.errors import UserError

_SHOWN = 20


class ClassView(ImageDataset):
    """The images of some classes of a data set, in their order; labels and normalisation stay those of the whole.

    `whole` is the data set behind; `labels` are the labels whose images are in the view. Selecting reads the labels
    of a split once and decodes no image. A split may turn out empty.
    """

    def __init__(self, whole: ImageDataset, labels: Collection[int]) -> None:
        super().__init__(whole.name, whole.resolution, whole.mean, whole.std)
        self.whole = whole
        self._chosen = frozenset(labels)
        self._places: dict[Split, list[int]] = {}

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes of the whole data set."""
        return self.whole.class_names

    def rows(self, split: Split) -> list[int]:
        """For each image of the view, its index in the same split of the whole data set: ascending."""
        if split not in self._places:
            labels = self.whole.labels(split, range(self.whole.size(split))).tolist()
            self._places[split] = [row for row, label in enumerate(labels) if label in self._chosen]
        return self._places[split]

    def fetch(self) -> None:
        """Download what the whole data set needs."""
        self.whole.fetch()

    def _size(self, split: Split) -> int:
        return len(self.rows(split))

    def _own(self, split: Split, indices: list[int]) -> list[int]:
        rows = self.rows(split)
        return [rows[index] for index in indices]

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        return list(self.whole.images(split, self._own(split, indices)))

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        return [int(label) for label in self.whole.labels(split, self._own(split, indices))]

    def fingerprint(self) -> str:
        """SHA-256 of the whole data set."""
        return self.whole.fingerprint()


@dataclass(frozen=True)
class LabelSpace:
    """What a model takes from the data set that it tells the classes of: their names and the normalisation."""

    name: str
    class_names: tuple[str, ...]
    mean: Triple
    std: Triple


class RelabelledView(ClassView):
    """A class view whose labels, class names and normalisation are those of another data set.

    `labels` maps each chosen label to the label that its images get.
    """

    def __init__(self, whole: ImageDataset, labels: Mapping[int, int], space: LabelSpace) -> None:
        super().__init__(whole, labels)
        self.mean, self.std = space.mean, space.std
        self._new = dict(labels)
        self._space = space

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes of the label space."""
        return self._space.class_names

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        return [self._new[label] for label in super()._labels(split, indices)]

    def fingerprint(self) -> str:
        """SHA-256 of the whole data set's fingerprint, the label space's class names, and the mapping of labels."""
        space = self._space
        content = [self.whole.fingerprint(), space.name, space.class_names, sorted(self._new.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def open_view(spec: DatasetSpec, sources: Mapping[str, DataSource], cache: Path = DEFAULT_CACHE) -> ImageDataset:
    """Open the data set of a cell: the whole, or a view of its chosen classes.

    Of a label space only the classes and normalisation are used; a registered one needs no files. Raises UserError as
    `open_dataset` and `chosen_labels` do.
    """
    if spec.classes is None:
        return open_dataset(spec.name, spec.resolution, sources, cache)
    labels = chosen_labels(spec, sources, cache)
    whole = open_dataset(spec.name, spec.resolution, sources, cache)
    if spec.label_space is None:
        return ClassView(whole, labels)
    return RelabelledView(whole, labels, _space(spec.label_space, spec.resolution, sources, cache))


def chosen_labels(spec: DatasetSpec, sources: Mapping[str, DataSource], cache: Path = DEFAULT_CACHE) -> dict[int, int]:
    """The labels of the chosen classes (all where `spec.classes` is None), and the label that each one becomes.

    A name that several classes share chooses all of them. Needs no files of registered data sets. Raises UserError
    for a class that does not exist, naming what does, and for a target in the label space that is not unique.
    """
    own = _space(spec.name, spec.resolution, sources, cache)
    if not isinstance(spec.classes, dict):
        names = own.class_names if spec.classes is None else spec.classes
        return {label: label for name in names for label in _labels_of(name, own)}
    target = _space(spec.labels_of, spec.resolution, sources, cache)
    return {label: _one_label(new, target) for name, new in spec.classes.items() for label in _labels_of(name, own)}


def _space(name: str, resolution: int, sources: Mapping[str, DataSource], cache: Path) -> LabelSpace:
    if name in DATASETS:
        info = DATASETS[name]
        return LabelSpace(name, info.class_names(), info.mean, info.std)
    dataset = open_dataset(name, resolution, sources, cache)
    return LabelSpace(name, dataset.class_names, dataset.mean, dataset.std)


def _labels_of(name: str, space: LabelSpace) -> list[int]:
    labels = [label for label, known in enumerate(space.class_names) if known == name]
    if not labels:
        more = ", ..." if len(space.class_names) > _SHOWN else ""
        raise UserError(
            f"dataset.classes: data set '{space.name}' has no class '{name}'; "
            f"known: {', '.join(space.class_names[:_SHOWN])}{more}"
        )
    return labels


def _one_label(name: str, space: LabelSpace) -> int:
    labels = _labels_of(name, space)
    if len(labels) > 1:
        raise UserError(
            f"dataset.classes: '{name}' names {len(labels)} classes of label space '{space.name}'; "
            "a target must name one"
        )
    return labels[0]
