"""Views of a data set: the images of some classes, in its own or another label space, or groups of given labels."""

import hashlib
import json
from abc import abstractmethod
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from gradleak.data.base import ImageDataset, Split
from gradleak.errors import UserError
from gradleak.specs import LabelGroups


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


class Selection(View):
    """Some images of a data set, by their labels. Labels and normalisation stay those of the whole.

    Selecting reads the labels of a split once and decodes no image. A split may turn out empty.
    """

    def __init__(self, whole: ImageDataset) -> None:
        super().__init__(whole, whole.mean, whole.std)
        self._places: dict[Split, list[int]] = {}

    @abstractmethod
    def _select(self, labels: list[int]) -> list[int]: ...

    def rows(self, split: Split) -> list[int]:
        """For each image of the view, its index in the same split of the whole data set."""
        if split not in self._places:
            self._places[split] = self._select(self.whole.labels(split, range(self.whole.size(split))).tolist())
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


class ClassView(Selection):
    """The images of some classes of a data set, in their order: those whose labels are among `labels`."""

    def __init__(self, whole: ImageDataset, labels: Collection[int]) -> None:
        super().__init__(whole)
        self._chosen = frozenset(labels)

    def _select(self, labels: list[int]) -> list[int]:
        return [row for row, label in enumerate(labels) if label in self._chosen]


class GroupedView(Selection):
    """The images of a data set in groups of `groups.every`, of which `groups.alike` have one class and all others
    different ones. Each image is in one group at most.

    The class of a group is that of the first image that is left and has enough of its class. Of each class the first
    images that are left are taken, and of all other classes those whose next image comes first. Within a group images
    are in the data set's order. The view ends where no group can be made of what is left. Raises UserError where the
    data set has fewer classes than a group needs.
    """

    def __init__(self, whole: ImageDataset, groups: LabelGroups) -> None:
        super().__init__(whole)
        self._groups = groups
        if groups.classes > whole.num_classes:
            raise UserError(
                f"dataset.labels: {groups.every} images of which {groups.alike} have one class need {groups.classes} "
                f"classes, data set '{whole.name}' has {whole.num_classes}"
            )

    def _select(self, labels: list[int]) -> list[int]:
        left: dict[int, deque[int]] = {}
        for row, label in enumerate(labels):
            left.setdefault(label, deque()).append(row)
        rows: list[int] = []
        while group := self._next(left):
            rows += group
        return rows

    def _next(self, left: dict[int, deque[int]]) -> list[int]:
        """The rows of the next group, which are taken from `left` (those of each label). Empty if there is none."""
        order = sorted((label for label in left if left[label]), key=lambda label: left[label][0])
        alike = next((label for label in order if len(left[label]) >= self._groups.alike), None)
        if alike is None or len(order) < self._groups.classes:
            return []
        others = [label for label in order if label != alike][: self._groups.classes - 1]
        return sorted(left[label].popleft() for label in [alike] * self._groups.alike + others)


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
