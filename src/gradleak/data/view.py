"""Views of a data set: only the images of some classes, in its own or in another data set's label space."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from gradleak.data.base import ImageDataset, Split


class View(ImageDataset):
    """What shows the images of another data set, `whole`, in another way. All but images and labels is the whole's."""

    def __init__(self, whole: ImageDataset, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__(whole.name, whole.resolution, mean, std)
        self.whole = whole

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes of the whole data set."""
        return self.whole.class_names

    @property
    def unread(self) -> tuple[str, ...]:
        """What of the whole data set is not read."""
        return self.whole.unread

    @property
    def divided(self) -> tuple[str, ...]:
        """That the whole data set was divided."""
        return self.whole.divided

    def fetch(self) -> None:
        """Download what the whole data set needs."""
        self.whole.fetch()

    def fingerprint(self) -> str:
        """SHA-256 of the whole data set."""
        return self.whole.fingerprint()


class ClassView(View):
    """The images of some classes of a data set, in their order. Labels and normalisation stay those of the whole.

    `labels` are the labels whose images are in the view. Selecting reads the labels
    of a split once and decodes no image. A split may turn out empty.
    """

    def __init__(self, whole: ImageDataset, labels: Collection[int]) -> None:
        super().__init__(whole, whole.mean, whole.std)
        self._chosen = frozenset(labels)
        self._places: dict[Split, list[int]] = {}

    def rows(self, split: Split) -> list[int]:
        """For each image of the view, its index in the same split of the whole data set: ascending."""
        if split not in self._places:
            labels = self.whole.labels(split, range(self.whole.size(split))).tolist()
            self._places[split] = [row for row, label in enumerate(labels) if label in self._chosen]
        return self._places[split]

    def _size(self, split: Split) -> int:
        return len(self.rows(split))

    def _own(self, split: Split, indices: list[int]) -> list[int]:
        rows = self.rows(split)
        return [rows[index] for index in indices]

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        return list(self.whole.images(split, self._own(split, indices)))

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        return [int(label) for label in self.whole.labels(split, self._own(split, indices))]


@dataclass(frozen=True)
class LabelSpace:
    """The class names and the normalisation that a model takes from the data set whose classes it tells apart."""

    name: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


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
