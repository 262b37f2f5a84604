"""Data sets from Parquet exports in the layout of the public data set hub."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from gradleak.data.base import DatasetInfo, ImageDataset, Split
from gradleak.data.decode import decode
from gradleak.data.splits import Splits
from gradleak.errors import UserError
from gradleak.files import sha256

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
_SHOWN = 10


class ParquetImages(ImageDataset):
    """Images from Parquet files: a struct column `img` or `image` with field `bytes`, and a label column.

    `path` is one file, or a folder with `train*.parquet` and `test*.parquet` (else `validation*.parquet`,
    which then is the test split). Shards of a split are taken in the order of their names. Where there is one
    split only, it is divided by the fixed rule of `gradleak.data.splits.Splits`. The label column is `label`,
    else `fine_label`.

    Labels of a registered name are its class numbers. For any other name the classes are those of the hub's
    metadata in the file, or the sorted distinct labels, and the labels are numbered in that order.

    `filter` maps columns to values: only rows that have all of these values, as text, are images of the data set.
    They are selected before a split is divided. The classes are those of all rows, so that data sets that differ in
    the filter number them alike. Raises UserError for an unknown column and where no row is left.
    """

    def __init__(
        self,
        name: str,
        resolution: int,
        path: Path,
        info: DatasetInfo | None = None,
        filter: Mapping[str, str] | None = None,
    ) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__(name, resolution, info.mean if info else half, info.std if info else half)
        self._info = info
        self._path = path
        self._filter = tuple(sorted((filter or {}).items()))
        self._files = {split: [_File(file, self._filter) for file in files] for split, files in _find(path).items()}
        self._check_filter()
        self._splits = Splits(self._files, lambda part: sum(file.rows for file in self._files[part]), str(path))

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The registered names, else those of the file's hub metadata, else the sorted distinct labels."""
        if self._info is not None:
            return self._info.class_names()
        return self._hub_names or tuple(str(label) for label in self._distinct)

    @cached_property
    def _hub_names(self) -> tuple[str, ...]:
        return next(iter(self._files.values()))[0].hub_names

    @cached_property
    def _distinct(self) -> list[Any]:
        return sorted({label for files in self._files.values() for file in files for label in file.all_labels})

    def _check_filter(self) -> None:
        files = [file for part in self._files.values() for file in part]
        if not self._filter or any(file.rows for file in files):
            return
        found = []
        for column, _ in self._filter:
            values = sorted({str(value) for file in files for value in file.column(column)})
            found.append(f"'{column}' has {', '.join(values[:_SHOWN])}{', ...' if len(values) > _SHOWN else ''}")
        wanted = ", ".join(f"{column}: {value}" for column, value in self._filter)
        raise UserError(f"data.{self.name}.filter: {{{wanted}}} selects no row of '{self._path}'; {'; '.join(found)}")

    @cached_property
    def _numbers(self) -> dict[Split, list[int]]:
        raw = {part: [label for file in files for label in file.labels] for part, files in self._files.items()}
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
        wanted: dict[_File, list[tuple[int, int]]] = {}
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


def _find(path: Path) -> dict[Split, list[Path]]:
    if path.is_file():
        return {"train": [path]}
    found: dict[Split, list[Path]] = {}
    patterns: list[tuple[Split, str]] = [("train", "train"), ("test", "test"), ("test", "validation")]
    for split, prefix in patterns:
        files = sorted(path.glob(f"{prefix}*.parquet"))
        if files and split not in found:
            found[split] = files
    if not found:
        raise UserError(f"{path}: holds no train*.parquet, test*.parquet or validation*.parquet")
    return found


@dataclass(frozen=True)
class _File:
    """One Parquet file. It is opened for each read, so that many shards do not hold as many handles.

    Of its rows only those that have all values of `filter` count.
    """

    path: Path
    filter: tuple[tuple[str, str], ...] = ()

    @cached_property
    def _footer(self) -> tuple[pq.FileMetaData, pa.Schema]:
        try:
            with pq.ParquetFile(self.path) as file:
                return file.metadata, file.schema_arrow
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{self.path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None

    @property
    def rows(self) -> int:
        return len(self.kept)

    @cached_property
    def kept(self) -> Sequence[int]:
        """The numbers in the file of the rows that count, ascending."""
        kept: Sequence[int] = range(int(self._footer[0].num_rows))
        for column, wanted in self.filter:
            values = self.column(column)
            kept = [row for row in kept if values[row] is not None and str(values[row]) == wanted]
        return kept

    def column(self, name: str) -> list[Any]:
        """All values of a column. Raises UserError where there is no such column of plain values."""
        allowed = [field.name for field in self._footer[1] if not pa.types.is_nested(field.type)]
        if name not in allowed:
            raise UserError(f"{self.path}: filter names column '{name}'; columns to filter by: {', '.join(allowed)}")
        return list(pq.read_table(self.path, columns=[name], partitioning=None).column(0).to_pylist())

    @cached_property
    def image_column(self) -> str:
        schema = self._footer[1]
        for name in IMAGE_COLUMNS:
            if name in schema.names:
                kind = schema.field(name).type
                if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                    return name
        raise UserError(
            f"{self.path}: needs a column 'img' or 'image' that is a struct with 'bytes'; found columns: "
            + ", ".join(schema.names)
        )

    @cached_property
    def label_column(self) -> str:
        names = self._footer[1].names
        for name in LABEL_COLUMNS:
            if name in names:
                return name
        raise UserError(f"{self.path}: needs a column 'label' or 'fine_label'; found columns: {', '.join(names)}")

    @cached_property
    def hub_names(self) -> tuple[str, ...]:
        content = (self._footer[1].metadata or {}).get(b"huggingface")
        if content is None:
            return ()
        feature = json.loads(content).get("info", {}).get("features", {}).get(self.label_column, {})
        return tuple(feature.get("names", ()))

    @property
    def labels(self) -> list[Any]:
        return [self.all_labels[row] for row in self.kept]

    @cached_property
    def all_labels(self) -> list[Any]:
        labels = pq.read_table(self.path, columns=[self.label_column], partitioning=None).column(0).to_pylist()
        if None in labels:
            raise UserError(f"{self.path}: column '{self.label_column}' is empty in row {labels.index(None)}")
        return list(labels)

    def contents(self, rows: list[int]) -> list[bytes]:
        """The encoded images of `rows`. Each block of the file that holds one is read once."""
        metadata, _ = self._footer
        starts = [0]
        for group in range(metadata.num_row_groups):
            starts.append(starts[-1] + metadata.row_group(group).num_rows)
        by_group: dict[int, list[int]] = {}
        for position, row in enumerate(rows):
            by_group.setdefault(bisect_right(starts, row) - 1, []).append(position)
        found: list[bytes] = [b""] * len(rows)
        with pq.ParquetFile(self.path) as file:
            for group, positions in sorted(by_group.items()):
                table = file.read_row_group(group, columns=[f"{self.image_column}.bytes"])
                local = pa.array([rows[position] - starts[group] for position in positions])
                for position, value in zip(positions, table.take(local).column(0).to_pylist(), strict=True):
                    if value is None or value["bytes"] is None:
                        raise UserError(f"{self.path}: row {rows[position]} holds no image bytes")
                    found[position] = value["bytes"]
        return found
