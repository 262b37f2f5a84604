"""Data sets from image folders: one subfolder per class."""

import hashlib
from functools import cached_property
from pathlib import Path

from torch import Tensor

from gradleak.data.base import DatasetInfo, ImageDataset, Split
from gradleak.data.decode import decode
from gradleak.data.splits import Splits
from gradleak.errors import UserError
from gradleak.files import sha256

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
HASHED_FILES = 10_000


class FolderImages(ImageDataset):
    """Images from `path/{train,test}/class/*.png`, or from `path/class/*.png`.

    A folder `val` or `validation` serves as test. Images are ordered by class, then by file name. A folder
    without splits, or with one, is divided by the fixed rule of `gradleak.data.splits.Splits`. Classes are
    the sorted subfolder names. For a registered name the folders must carry its class names, or be as many as
    its classes, whose numbers they then take in sorted order (so the usual ImageNet folders, named by WordNet
    id, work).
    """

    def __init__(self, name: str, resolution: int, path: Path, info: DatasetInfo | None = None) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__(name, resolution, info.mean if info else half, info.std if info else half)
        self._info = info
        self._path = path
        self._roots = _find(path)
        self._listed: dict[Split, list[tuple[Path, str]]] = {}
        self._splits = Splits(self._roots, lambda part: len(self._files(part)), str(path))

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The registered names, else the sorted subfolder names."""
        return self._info.class_names() if self._info else tuple(self._folders)

    @cached_property
    def _folders(self) -> list[str]:
        return sorted({folder.name for root in self._roots.values() for folder in _subfolders(root)})

    @cached_property
    def _numbers(self) -> dict[str, int]:
        if self._info is not None:
            names = self._info.class_names()
            if set(self._folders) <= set(names):
                return {name: number for number, name in enumerate(names)}
            if len(self._folders) != len(names):
                raise UserError(
                    f"{self._path}: has {len(self._folders)} class folders (first: '{self._folders[0]}'), "
                    f"but data set '{self.name}' has {len(names)} classes"
                )
        return {name: number for number, name in enumerate(self._folders)}

    def _files(self, part: Split) -> list[tuple[Path, str]]:
        if part not in self._listed:
            self._listed[part] = [
                (file, folder.name)
                for folder in _subfolders(self._roots[part])
                for file in sorted(folder.iterdir())
                if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".")
            ]
        return self._listed[part]

    def _locate(self, split: Split, index: int) -> tuple[Path, str]:
        part, row = self._splits.locate(split, index)
        return self._files(part)[row]

    def _size(self, split: Split) -> int:
        return self._splits.size(split)

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        return [self._numbers[self._locate(split, index)[1]] for index in indices]

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        files = [self._locate(split, index)[0] for index in indices]
        return [decode(file.read_bytes(), self.resolution, str(file)) for file in files]

    def fingerprint(self) -> str:
        """SHA-256 over all relative file names and contents, or names and sizes if there are more than 10,000 files."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        files = sorted(file for part in self._roots for file, _ in self._files(part))
        digest = hashlib.sha256()
        for file in files:
            content = sha256(file) if len(files) <= HASHED_FILES else str(file.stat().st_size)
            digest.update(f"{file.relative_to(self._path).as_posix()} {content}\n".encode())
        return digest.hexdigest()


def _subfolders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _find(path: Path) -> dict[Split, Path]:
    if not path.is_dir():
        raise UserError(f"{path}: is not a folder of images")
    found: dict[Split, Path] = {}
    splits: list[tuple[Split, str]] = [("train", "train"), ("test", "test"), ("test", "val"), ("test", "validation")]
    for split, name in splits:
        if (path / name).is_dir() and split not in found:
            found[split] = path / name
    if not found:
        found["train"] = path
    for root in found.values():
        if not _subfolders(root):
            raise UserError(f"{root}: has no class subfolders")
    return found
