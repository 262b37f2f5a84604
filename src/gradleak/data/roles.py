"""Roles of images: who may use which image of a data set, disjoint by construction.

`victim` images are the split `test`: attacks are measured on them. A tenth of `train` are `tuning` images, the victims
of a hyper-parameter search. The rest of `train` are `public` images, from which an adversary may train generators and
enhancers. Which images are set aside is decided by a hash of their number, so that a tenth of every class is, in
whatever order the data lie. In a view of some classes every image keeps the role that it has in the whole data set, so
roles stay disjoint between views too.

The clients of a federated training hold images of `train`, whatever their role: victims are new to the global model,
public and tuning images are not.
"""

import hashlib
from collections.abc import Sequence
from functools import cache, cached_property

from torch import Tensor

from gradleak.data.base import ImageDataset
from gradleak.data.view import ClassView, GroupedView
from gradleak.errors import UserError


class _TrainPart:
    """Some images of the split `train`, numbered from 0. No index leads to another image."""

    def __init__(self, role: str, dataset: ImageDataset, rows: list[int]) -> None:
        if not rows:
            raise UserError(f"data set '{dataset.name}': its chosen classes have no {role} images")
        self._role = role
        self._dataset = dataset
        self._rows = rows

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self._dataset.name

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""
        return self._dataset.resolution

    @property
    def num_classes(self) -> int:
        """How many labels there are, whether or not images have them."""
        return self._dataset.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of every label, in the order of the labels."""
        return self._dataset.class_names

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """The labels that these images have, ascending."""
        return tuple(sorted(set(self.labels(range(self.size)).tolist())))

    @property
    def size(self) -> int:
        """Number of images, at least 1."""
        return len(self._rows)

    def images(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Images as float32 (n, 3, resolution, resolution) in [0, 1]. Raises UserError for an index out of range."""
        return self._dataset.images("train", self._checked(indices))

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Labels as int64 (n,). Raises UserError for an index out of range."""
        return self._dataset.labels("train", self._checked(indices))

    def _checked(self, indices: Sequence[int] | Tensor) -> list[int]:
        chosen = [int(index) for index in indices]
        for index in chosen:
            if not 0 <= index < self.size:
                raise UserError(
                    f"data set '{self.name}': index {index} is outside its {self.size} {self._role} images "
                    f"(allowed: 0 to {self.size - 1})"
                )
        return [self._rows[index] for index in chosen]


class PublicImages(_TrainPart):
    """What an adversary may learn from: `train` without what is set aside for tuning.

    Raises UserError where the chosen classes have no public image.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        super().__init__("public", dataset, _rows(dataset, tuning=False))


class TuningImages(_TrainPart):
    """The victims of a hyper-parameter search: about a tenth of `train`.

    Raises UserError where the chosen classes have no tuning image.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        super().__init__("tuning", dataset, _rows(dataset, tuning=True))


def _rows(dataset: ImageDataset, tuning: bool) -> list[int]:
    if isinstance(dataset, GroupedView):
        raise UserError(f"dataset.labels: groups are of victims, but other images of '{dataset.name}' are asked for")
    whole = dataset.whole if isinstance(dataset, ClassView) else dataset
    aside = _set_aside(whole.size("train"))
    places = dataset.rows("train") if isinstance(dataset, ClassView) else range(dataset.size("train"))
    return [index for index, row in enumerate(places) if (row in aside) == tuning]


@cache
def _set_aside(size: int) -> frozenset[int]:
    return frozenset(row for row in range(size) if _hash(row) % 10 == 0)


def _hash(row: int) -> int:
    return int.from_bytes(hashlib.sha256(f"gradleak tuning {row}".encode()).digest()[:8], "big")
