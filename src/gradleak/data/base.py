"""What a data set is: its interface, where its images come from, and the registry of known names."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from gradleak.errors import UserError
from gradleak.frozen import Frozen
from gradleak.registry import Registry

Split = Literal["train", "test"]

SourceKind = Literal["embedded", "torchvision", "parquet", "folder"]

Columns = dict[Literal["image", "label"], str]
"""Names of the columns that hold images and labels."""

SplitNames = dict[Split, str]
"""What data calls our splits."""

Triple = tuple[float, float, float]

DEFAULT_CACHE = Path(".cache/gradleak")
"""Where downloads lie unless a config or option says otherwise, relative to the working directory."""


class DataSource(Frozen):
    """Where the images of one data set come from.

    `embedded` and `torchvision` are the default sources of registered names (`path` replaces the folder under
    the cache); `parquet` and `folder` need a `path` and serve any name. `filter` keeps of a `parquet` source only
    the rows whose columns equal these values as text, e.g. `{domain: sketch}`. The rest does not exist for the data
    set, so where the file comes in one split, what is kept is divided. Two names for overlapping rows of one file are
    two data sets: nothing keeps the train images of one apart from the test images of the other. `columns` names the
    columns of a `parquet` source, `splits` what `parquet` or a `folder` has as our splits: `{test: validation}`. One
    name for both is divided.
    """

    source: SourceKind
    path: Path | None = None
    filter: dict[str, str] = Field({})
    # Left out of the content where there are none: ids of what is made from other data do not depend on them.
    columns: Columns = Field({}, exclude_if=lambda value: not value)
    splits: SplitNames = Field({}, exclude_if=lambda value: not value)


class ImageDataset(ABC):
    """Labelled images of one data set at one resolution, in two disjoint splits.

    Images are in colour; only `GreyImages` have one channel. `mean` and `std` are the normalisation of each channel
    that belongs to the data set. The model's input step applies it. The images that this class returns are never
    normalised. `class_names[k]` is the name of label k.
    """

    def __init__(self, name: str, resolution: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if resolution < 1:
            raise UserError(f"data set '{name}': resolution is {resolution}, must be at least 1")
        self.name = name
        self.resolution = resolution
        self.mean = mean
        self.std = std

    @cached_property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The name of every label, in the order of the labels."""

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return len(self.class_names)

    @abstractmethod
    def _size(self, split: Split) -> int: ...

    @abstractmethod
    def _images(self, split: Split, indices: list[int]) -> list[Tensor]: ...

    @abstractmethod
    def _labels(self, split: Split, indices: list[int]) -> list[int]: ...

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of what the images are made from, independent of the resolution."""

    @property
    def unread(self) -> tuple[str, ...]:
        """A line for everything that was left out of the data. Reads no image."""
        return ()

    @property
    def divided(self) -> tuple[str, ...]:
        """A line that says how train and test were told apart, where the data does not."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or decided, in a line each."""
        return (*self.unread, *self.divided)

    def fetch(self) -> None:
        """Download what this data set needs. Does nothing where nothing can be downloaded."""
        return None

    def size(self, split: Split) -> int:
        """Number of images in `split` (`train` or `test`), without decoding any.

        Raises UserError for another split.
        """
        if split not in get_args(Split):
            raise UserError(f"data set '{self.name}': unknown split '{split}'; allowed: train, test")
        return self._size(split)

    def images(self, split: Split, indices: Sequence[int] | Tensor) -> Tensor:
        """Images as float32 of shape (n, 3, resolution, resolution) in [0, 1], in the order of `indices`.

        Only these images are decoded. Ask for many at once: a call may read a whole block of the file behind.
        Raises UserError for an index outside the split and for an image that cannot be read.
        """
        chosen = self._checked(split, indices)
        if not chosen:
            return torch.empty(0, len(self.mean), self.resolution, self.resolution)
        return torch.stack(self._images(split, chosen))

    def labels(self, split: Split, indices: Sequence[int] | Tensor) -> Tensor:
        """Labels as int64 of shape (n,), each in [0, num_classes).

        Raises UserError for an index outside the split, and where the data holds another label.
        """
        chosen = self._checked(split, indices)
        labels = self._labels(split, chosen)
        for index, label in zip(chosen, labels, strict=True):
            if not 0 <= label < self.num_classes:
                raise UserError(
                    f"data set '{self.name}': label of {split} image {index} is {label}, "
                    f"allowed: 0 to {self.num_classes - 1}"
                )
        return torch.tensor(labels, dtype=torch.int64)

    def _checked(self, split: Split, indices: Sequence[int] | Tensor) -> list[int]:
        size = self.size(split)
        chosen = [int(index) for index in indices]
        for index in chosen:
            if not 0 <= index < size:
                raise UserError(
                    f"data set '{self.name}': index {index} is outside split '{split}' of {size} images "
                    f"(allowed: 0 to {size - 1})"
                )
        return chosen


@dataclass(frozen=True)
class DatasetInfo:
    """What a registered name stands for, whichever source its images come from.

    `class_names` is a function because a list of 1,000 names need not be loaded to list data sets. `native`
    opens the default source: it takes this object, the resolution, and the folder where downloaded files lie.
    """

    name: str
    num_classes: int
    class_names: Callable[[], tuple[str, ...]]
    resolution: int
    mean: Triple
    std: Triple
    source: SourceKind
    native: Callable[["DatasetInfo", int, Path], ImageDataset]


DATASETS: Registry[DatasetInfo] = Registry("data set", "gradleak.data")
