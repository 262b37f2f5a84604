"""The images that an audit's clients hold."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gradleak.audit.spec import ImageSource
from gradleak.data.base import DataSource, ImageDataset, SourceKind, Split
from gradleak.data.decode import endings
from gradleak.data.grey import in_channels
from gradleak.data.opening import open_dataset
from gradleak.data.parquet import splits_of
from gradleak.errors import UserError
from gradleak.study.config import Config


class AuditImages:
    """Labelled images under numbers from 0: all of a folder or of Parquet, the test split of a known data set.

    They are in colour, or in one channel.
    """

    def __init__(self, source: ImageSource, channels: int, config: Config) -> None:
        self._source = source
        if source.path is None:
            self.name = str(source.dataset)
            self.dataset = open_dataset(self.name, source.resolution, config.data, config.cache)
            splits: tuple[Split, ...] = ("test",)
        else:
            self.name = source.path.name or source.path.resolve().name
            self.dataset = _open(source, source.path)
            splits = ("test", "train")
        self.dataset = in_channels(self.dataset, channels)
        for split in splits:
            self.dataset.labels(split, range(self.dataset.size(split)))  # raises UserError for one that is no class
        self._rows = [(split, row) for split in splits for row in range(self.dataset.size(split))]
        self.class_names = self._classes()
        own = self.dataset.class_names
        # Without a choice labels keep their numbers: two classes may have one name.
        self._numbers = [*range(len(own))] if source.classes is None else [self.class_names.index(name) for name in own]

    @property
    def notes(self) -> tuple[str, ...]:
        """What of a folder or of Parquet is not read."""
        return tuple(f"images: {note}" for note in self.dataset.unread)

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, numbers: Sequence[int]) -> Tensor:
        """Images (n, C, r, r) in [0, 1]."""
        return torch.cat([self.dataset.images(split, [row]) for split, row in self._chosen(numbers)])

    def labels(self, numbers: Sequence[int]) -> Tensor:
        """Labels int64 (n,): positions in `class_names`."""
        found = [int(self.dataset.labels(split, [row])) for split, row in self._chosen(numbers)]
        return torch.tensor([self._numbers[label] for label in found])

    def draw(self, trials: int, samples: int, seed: int) -> list[tuple[int, ...]]:
        """N different images for each trial, none twice. Raises UserError for too few, and one that cannot be read."""
        if trials * samples > len(self):
            raise UserError(
                f"trials: {trials} clients of {samples} images need {trials * samples} images, "
                f"but '{self.name}' has {len(self)}"
            )
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed)).tolist()
        drawn = [tuple(order[trial * samples : (trial + 1) * samples]) for trial in range(trials)]
        for numbers in drawn:
            self.images(numbers)
        return drawn

    def check(self, classes: int) -> None:
        """Raises UserError unless the labels are those of a model with so many classes."""
        found = len(self.class_names)
        if found > classes:
            raise UserError(
                f"images: class '{self.class_names[classes]}' has label {classes}, "
                f"but the model's are 0 to {classes - 1}"
            )
        if found < classes:
            raise UserError(
                f"images: {found} classes, but the model tells {classes} apart; list the names of all of them under "
                "images.classes, in the order of the model's answers"
            )

    def _chosen(self, numbers: Sequence[int]) -> list[tuple[Split, int]]:
        return [self._rows[number] for number in numbers]

    def _classes(self) -> tuple[str, ...]:
        own = self.dataset.class_names
        if self._source.classes is None:
            return own
        lacking = next((name for name in own if name not in self._source.classes), None)
        if lacking is not None:
            raise UserError(f"images.classes: lacks '{lacking}', a class of '{self.name}'")
        return self._source.classes


def _open(source: ImageSource, path: Path) -> ImageDataset:
    if not path.exists():
        raise UserError(f"images.path: '{path}' does not exist")
    given = DataSource(source=_kind(path), path=path, columns=source.columns, splits=source.splits)
    return open_dataset("images", source.resolution, {"images": given})


def _kind(path: Path) -> SourceKind:
    """Parquet lies in a folder, or deeper in one without pictures: class folders may hold a table of something else."""
    if not splits_of(path):
        return "folder"
    pictures = any(file.suffix.lower() in endings() for file in path.glob("*/*"))
    return "folder" if pictures and not any(path.glob("*.parquet")) else "parquet"
