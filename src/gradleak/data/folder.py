"""Data sets from image folders: one subfolder per class."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from torch import Tensor

from gradleak.data.base import DatasetInfo, ImageDataset, Split
from gradleak.data.decode import decode
from gradleak.data.layout import Layout
from gradleak.data.splits import Splits
from gradleak.errors import UserError
from gradleak.files import read_regular, sha256

HASHED_FILES = 10_000


class FolderImages(ImageDataset):
    """Images from `path/{train,test}/class/*.png`, or from `path/class/*.png`: see `Layout` for all that is known.

    A folder `val` or `validation` serves as test where there is none. Images are ordered by class, then by file name. A
    folder without splits, or with one, is divided by the fixed rule of `gradleak.data.splits.Splits`. Classes are the
    sorted names of the class folders. For a registered name the folders must carry its class names, or be as many as
    its classes, whose numbers they then take in sorted order (so the usual ImageNet folders, named by WordNet id,
    work).
    """

    def __init__(
        self,
        name: str,
        resolution: int,
        path: Path,
        info: DatasetInfo | None = None,
        splits: Mapping[Split, str] | None = None,
    ) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__(name, resolution, info.mean if info else half, info.std if info else half)
        self._info = info
        self._path = path
        self._layout = Layout(path, splits or {})
        self._splits = Splits(self._layout.roots, lambda part: len(self._layout.files[part]), str(path))

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The registered names, else the sorted names of the class folders."""
        return self._info.class_names() if self._info else tuple(self._layout.classes)

    @property
    def unread(self) -> tuple[str, ...]:
        """What in the folder is not read, and which classes a split has no image of."""
        return self._layout.notes

    @property
    def divided(self) -> tuple[str, ...]:
        """That the only split was divided."""
        return self._splits.notes

    @cached_property
    def _numbers(self) -> dict[str, int]:
        if self._info is not None:
            names = self._info.class_names()
            if set(self._layout.classes) <= set(names):
                return {name: number for number, name in enumerate(names)}
            classes = self._layout.classes
            if len(classes) != len(names):
                raise UserError(
                    f"{self._path}: has {len(classes)} class folders (first: '{classes[0]}'), "
                    f"but data set '{self.name}' has {len(names)} classes"
                )
        return {name: number for number, name in enumerate(self._layout.classes)}

    def _locate(self, split: Split, index: int) -> tuple[Path, str]:
        part, row = self._splits.locate(split, index)
        return self._layout.files[part][row]

    def _size(self, split: Split) -> int:
        return self._splits.size(split)

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        return [self._numbers[self._locate(split, index)[1]] for index in indices]

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        files = [self._locate(split, index)[0] for index in indices]
        return [decode(read_regular(file), self.resolution, str(file)) for file in files]

    def fingerprint(self) -> str:
        """SHA-256 over all relative file names and contents, or names and sizes if there are more than 10,000 files."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        files = sorted(file for part in self._layout.files.values() for file, _ in part)
        digest = hashlib.sha256()
        for file in files:
            content = sha256(file) if len(files) <= HASHED_FILES else str(file.stat().st_size)
            digest.update(f"{file.relative_to(self._path).as_posix()} {content}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()
