"""Data sets from Parquet exports in the layouts of the public data set hub."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from gradleak.data.base import Columns, DatasetInfo, ImageDataset, Split
from gradleak.data.decode import decode
from gradleak.data.splits import Splits, choose
from gradleak.data.table import Table
from gradleak.errors import UserError, listed
from gradleak.files import sha256

#: Names of a split; the first that is there serves as it.
NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "validation", "valid", "val")}
_DEPTH = 3
_SHOWN = 10
_KNOWN = re.compile(r"(?:^|[^a-z])(train|test|validation|val(?:id)?(?![a-z]))", re.IGNORECASE)
_SHARD = re.compile(r"[-_.]?\d+(-of-\d+.*)?$|^part-.*")


class ParquetImages(ImageDataset):
    """Images from Parquet files: a column `img` or `image` of encoded images, and a column `label` or `fine_label`.

    `path` is one file, or a folder as the hub lays them out: the name of a split is in that of the file
    (`train-00000-of-00002.parquet`, in a folder `data` or not) or of its folder (`default/train/0000.parquet`). Shards
    of a split are taken in the order of their names. Where there is no `test`, `validation` or `val` is the test split.
    A single split is divided by the fixed rule of `gradleak.data.splits.Splits`. `columns` and `splits` name others.

    Labels of a registered name are its class numbers. For any other name the classes are those of the hub's
    metadata in the file, or the sorted distinct labels, and the labels are numbered in that order.

    `filter` maps columns to values: only rows that have all of these values, as text, are images of the data set.
    They are selected before a split is divided. The classes are those of all rows, so that data sets that differ in
    the filter number them alike. Raises UserError for an unknown column or split and where no row is left.
    """

    def __init__(
        self,
        name: str,
        resolution: int,
        path: Path,
        info: DatasetInfo | None = None,
        filter: Mapping[str, str] | None = None,
        columns: Columns | None = None,
        splits: Mapping[Split, str] | None = None,
    ) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__(name, resolution, info.mean if info else half, info.std if info else half)
        self._info = info
        self._path = path
        self._filter = tuple(sorted((filter or {}).items()))
        found, unread = _find(path, splits or {})
        self._unread = unread
        self._files = {
            split: [Table(file, self._filter, columns or {}) for file in files] for split, files in found.items()
        }
        self._check_filter()
        self._splits = Splits(self._files, lambda part: sum(file.rows for file in self._files[part]), str(path))

    @property
    def unread(self) -> tuple[str, ...]:
        """Which splits are not read."""
        return (f"splits that are not read: {listed(self._unread)}",) if self._unread else ()

    @property
    def divided(self) -> tuple[str, ...]:
        """That the only split was divided."""
        return self._splits.notes

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The registered names, else those of the file's hub metadata, else the sorted distinct labels."""
        if self._info is not None:
            return self._info.class_names()
        return self._hub_names or tuple(str(label) for label in self._distinct)

    @cached_property
    def _hub_names(self) -> tuple[str, ...]:
        """The same in every file that has any: the numbers of one file would mean other classes in another."""
        first, *others = [file for files in self._files.values() for file in files]
        for file in others:
            if file.hub_names != first.hub_names:
                raise UserError(f"{file.path}: its metadata name other classes than '{first.path}'; write both anew")
        return first.hub_names

    @cached_property
    def _distinct(self) -> list[Any]:
        found = {label: file for files in self._files.values() for file in files for label in file.all_labels}
        if len({isinstance(label, str) for label in found}) > 1:
            text, number = (next(label for label in found if isinstance(label, str) == kind) for kind in (True, False))
            raise UserError(f"{found[text].path}: has the label {text!r}, but '{found[number].path}' has {number!r}")
        return sorted(found)

    def _check_filter(self) -> None:
        files = [file for part in self._files.values() for file in part]
        if not self._filter or any(file.rows for file in files):
            return
        found = []
        for column, _ in self._filter:
            values = sorted({str(value) for file in files for value in file.values(column)})
            found.append(f"'{column}' has {', '.join(values[:_SHOWN])}{', ...' if len(values) > _SHOWN else ''}")
        wanted = ", ".join(f"{column}: {value}" for column, value in self._filter)
        raise UserError(f"data.{self.name}.filter: {{{wanted}}} selects no row of '{self._path}'; {'; '.join(found)}")

    @cached_property
    def _numbers(self) -> dict[Split, list[int]]:
        raw: dict[Split, list[Any]] = {
            part: [label for file in files for label in file.labels] for part, files in self._files.items()
        }
        if self._info is None and not self._hub_names:
            number = {label: position for position, label in enumerate(self._distinct)}
            return {part: [number[label] for label in labels] for part, labels in raw.items()}
        for part, labels in raw.items():
            if labels and not isinstance(labels[0], int):
                file = self._files[part][0]
                raise UserError(
                    f"{file.path}: column '{file.label_column}' holds {labels[0]!r}, allowed: class numbers"
                )
        return raw

    def _size(self, split: Split) -> int:
        return self._splits.size(split)

    def _labels(self, split: Split, indices: list[int]) -> list[int]:
        places = [self._splits.locate(split, index) for index in indices]
        return [self._numbers[part][row] for part, row in places]

    def _images(self, split: Split, indices: list[int]) -> list[Tensor]:
        content = self._contents([self._splits.locate(split, index) for index in indices])
        return [decode(data, self.resolution, where) for data, where in content]

    def _contents(self, places: list[tuple[Split, int]]) -> list[tuple[bytes, str]]:
        wanted: dict[Table, list[tuple[int, int]]] = {}
        for position, (part, row) in enumerate(places):
            for file in self._files[part]:
                if row < file.rows:
                    wanted.setdefault(file, []).append((file.kept[row], position))
                    break
                row -= file.rows
        found: list[tuple[bytes, str]] = [(b"", "")] * len(places)
        for file, rows in wanted.items():
            contents = file.contents([row for row, _ in rows])
            for (row, position), content in zip(rows, contents, strict=True):
                found[position] = (content, f"{file.path}: row {row}")
        return found

    def fingerprint(self) -> str:
        """SHA-256 over the Parquet files' whole contents, by split and name order, and the filter if there is one."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for split in sorted(self._files):
            for file in self._files[split]:
                digest.update(f"{split} {sha256(file.path)}\n".encode())
        if self._filter:
            digest.update(json.dumps(self._filter).encode())
        return digest.hexdigest()


def _find(path: Path, asked: Mapping[Split, str]) -> tuple[dict[Split, list[Path]], list[str]]:
    """The files of each split, and the names of the splits that are not read."""
    by_name = splits_of(path)
    if not by_name:
        raise UserError(f"{path}: holds no train*.parquet, test*.parquet or validation*.parquet")
    chosen = choose(NAMES, by_name, asked, str(path))
    if not chosen:
        if len(by_name) > 1:
            raise UserError(
                f"{path}: no split is named train or test; name them (splits: {{train: ...}}): {listed(by_name)}"
            )
        chosen = {"train": next(iter(by_name))}
    files = {split: by_name[name] for split, name in chosen.items()}
    for group in files.values():
        folders = sorted({str(file.parent.relative_to(path)) for file in group}) if path.is_dir() else []
        if len(folders) > 1:
            raise UserError(f"{path}: holds several tables, in {listed(folders)}; name the folder of one as path")
    return files, sorted(by_name.keys() - chosen.values())


def splits_of(path: Path) -> dict[str, list[Path]]:
    """The Parquet files of a folder and those up to three levels deeper, or one file, by the name of their split.

    Empty where there is none.
    """
    if not path.is_dir():
        return {"train": [path]} if path.suffix.lower() == ".parquet" or path.is_file() else {}
    found: dict[str, list[Path]] = {}
    for folder, folders, files in os.walk(path, followlinks=True):
        here = Path(folder)
        depth = len(here.relative_to(path).parts)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")) and depth < _DEPTH)
        for name in sorted(files):
            if name.lower().endswith(".parquet") and not name.startswith("."):
                found.setdefault(_split_name(name[: -len(".parquet")], here.name if depth else ""), []).append(
                    here / name
                )
    return found


def _split_name(stem: str, folder: str) -> str:
    """`train` of `train-00000-of-00002`, `cifar10-train` and `train/0000`; else the stem without the shard's number."""
    for word in (_SHARD.sub("", stem), folder):
        known = _KNOWN.search(word)
        if known:
            return known[1].lower()
    return _SHARD.sub("", stem) or folder or stem
