"""One Parquet file of labelled images: which columns hold them, which rows count, and what is in them."""

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from gradleak.data.base import Columns
from gradleak.errors import UserError
from gradleak.files import check_regular

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")


@dataclass(frozen=True, eq=False)
class Table:
    """One Parquet file. It is opened for each read, so that many shards do not hold as many handles.

    Of its rows only those that have all values of `filter` count. `columns` names the columns of images and labels
    where they are not `img` or `image`, and `label` or `fine_label`.
    """

    path: Path
    filter: tuple[tuple[str, str], ...] = ()
    columns: Columns = field(default_factory=dict)

    @cached_property
    def _footer(self) -> tuple[pq.FileMetaData, pa.Schema]:
        check_regular(self.path)
        with self._reading(), pq.ParquetFile(self.path) as file:
            return file.metadata, file.schema_arrow

    @property
    def rows(self) -> int:
        """How many rows count."""
        return len(self.kept)

    @cached_property
    def kept(self) -> Sequence[int]:
        """The numbers in the file of the rows that count, ascending."""
        kept: Sequence[int] = range(int(self._footer[0].num_rows))
        for column, wanted in self.filter:
            values = self.values(column)
            kept = [row for row in kept if values[row] is not None and str(values[row]) == wanted]
        return kept

    def values(self, name: str) -> list[Any]:
        """All values of a column to filter by. Raises UserError where there is no such column of plain values."""
        allowed = [field.name for field in self._footer[1] if not pa.types.is_nested(field.type)]
        if name not in allowed:
            raise UserError(f"{self.path}: filter names column '{name}'; columns to filter by: {', '.join(allowed)}")
        return self._column(name)

    @cached_property
    def image_column(self) -> str:
        """The column of encoded images, binary or a struct with `bytes`, as a path within the schema."""
        name = self._find("image", IMAGE_COLUMNS, "'img' or 'image' that is a struct with 'bytes'")
        kind = self._kind(name)
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return f"{name}.bytes"
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return name
        raise UserError(
            f"{self.path}: column '{name}' must be bytes of image files or a struct with 'bytes', but is "
            f"{_short(kind)}; found columns: {', '.join(self._footer[1].names)}"
        )

    @cached_property
    def label_column(self) -> str:
        """The column of labels, one for each image: whole numbers or text."""
        name = self._find("label", LABEL_COLUMNS, "'label' or 'fine_label'")
        kind = self._kind(name)
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            raise UserError(
                f"{self.path}: column '{name}' holds lists, but an image must have one label; choose another column "
                f"(columns: {{label: ...}}) of {', '.join(self._footer[1].names)}"
            )
        tests = (
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_string,
            pa.types.is_large_string,
        )
        if not any(test(value) for test in tests):
            raise UserError(f"{self.path}: column '{name}' is {_short(kind)}, allowed: whole numbers or text")
        return name

    @cached_property
    def hub_names(self) -> tuple[str, ...]:
        """The names of the classes in the hub's metadata; none where there are none."""
        content = (self._footer[1].metadata or {}).get(b"huggingface")
        if content is None:
            return ()
        try:
            feature = json.loads(content)["info"]["features"][self.label_column]
            names = feature.get("names") or ()
        except (KeyError, TypeError, AttributeError):
            return ()
        except (ValueError, RecursionError):
            raise UserError(
                f"{self.path}: its metadata 'huggingface' is no JSON, so the names of the classes are not known; write "
                "the file again without it (table.replace_schema_metadata(None) in pyarrow)"
            ) from None
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{self.path}: the names of the classes in its metadata 'huggingface' are no list of text")
        return tuple(names)

    @property
    def labels(self) -> list[int | str]:
        """The labels of the rows that count."""
        return [self.all_labels[row] for row in self.kept]

    @cached_property
    def all_labels(self) -> list[int | str]:
        """The labels of all rows. Raises UserError for one that is no class: nothing, a fraction, a negative number."""
        name = self.label_column
        labels = self._column(name)
        if None in labels:
            raise UserError(f"{self.path}: column '{name}' is empty in row {labels.index(None)}")
        for row, label in enumerate(labels):
            if isinstance(label, float) and (not math.isfinite(label) or label != int(label)):
                raise UserError(
                    f"{self.path}: column '{name}' holds {label} in row {row}, which is no class; {_CHOOSE}"
                )
            if not isinstance(label, str) and label < 0:
                unlabelled = (
                    "no row of it has a label" if all(label == other for other in labels) else f"row {row} has none"
                )
                raise UserError(f"{self.path}: label {int(label)} stands for none, and {unlabelled}; {_CHOOSE}")
        return [int(label) if isinstance(label, float) else label for label in labels]

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
        column = self.image_column
        with self._reading(), pq.ParquetFile(self.path) as file:
            for group, positions in sorted(by_group.items()):
                table = file.read_row_group(group, columns=[column])
                local = pa.array([rows[position] - starts[group] for position in positions])
                for position, value in zip(positions, table.take(local).column(0).to_pylist(), strict=True):
                    content = value["bytes"] if isinstance(value, dict) else value
                    if content is None:
                        raise UserError(f"{self.path}: row {rows[position]} holds no image bytes")
                    found[position] = content
        return found

    def _find(self, role: Literal["image", "label"], known: tuple[str, ...], words: str) -> str:
        names = self._footer[1].names
        asked = self.columns.get(role)
        found = [asked] if asked is not None else [name for name in known if name in names]
        if not found or found[0] not in names:
            wanted = f"has no column '{asked}'" if asked is not None else f"needs a column {words}"
            raise UserError(
                f"{self.path}: {wanted}; found columns: {', '.join(names)} (choose by columns: {{{role}: ...}})"
            )
        if names.count(found[0]) > 1:
            raise UserError(f"{self.path}: has {names.count(found[0])} columns '{found[0]}'; rename all but one")
        return found[0]

    def _kind(self, name: str) -> pa.DataType:
        return self._footer[1].field(name).type

    def _column(self, name: str) -> list[Any]:
        with self._reading():
            return list(pq.read_table(self.path, columns=[name], partitioning=None).column(0).to_pylist())

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{self.path}: cannot be read as Parquet ({reason[:160]})") from None


_CHOOSE = "choose another split (splits: {test: ...}) or column (columns: {label: ...})"


def _short(kind: pa.DataType) -> str:
    return str(kind)[:60]
