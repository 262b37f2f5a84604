"""Parquet files, written with fixed settings, so that equal content is equal bytes, and read within limits."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradleak.errors import UserError
from gradleak.files import atomic

#: Most rows and columns of a file: it may be somebody else's, and a small file can stand for a huge table.
MOST_ROWS, MOST_COLUMNS = 20_000_000, 1_000

_TEXT, _TRUTHS, _WHOLE, _NUMBERS, _BYTES, _NOTHING = (
    "text",
    "true or false",
    "whole numbers",
    "numbers",
    "bytes",
    "nothing",
)
# What the columns that are read by name hold. Where they tell rows apart, none of their values may be missing.
_KEYS = {"cell_id": _TEXT, "chosen": _TRUTHS, **dict.fromkeys(("restart", "position", "image"), _WHOLE)}
_KINDS = {
    **_KEYS,
    **dict.fromkeys(("family_id", "dataset_name", "model_name"), _TEXT),
    **dict.fromkeys(("dataset_resolution", "model_width"), _NUMBERS),
    **dict.fromkeys(("label", "iterations", "client_samples", "lpips", "psnr", "ssim", "mse", "objective"), _NUMBERS),
    **dict.fromkeys(("truth_png", "reconstruction_png"), _BYTES),
}


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame atomically, without pandas metadata."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", version="2.6")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, or some columns of it.

    Raises UserError if it is missing, damaged or too large, for a column that is there twice or holds other things than
    text, bytes, numbers and truths, and for one that the stages write with values of another type or missing ones.
    """
    if not path.exists():
        raise UserError(f"{path}: cannot be read (No such file or directory)")
    try:
        if not path.is_file():
            raise UserError(f"{path}: cannot be read as Parquet (it is no regular file)")
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if file.metadata.num_rows > MOST_ROWS or len(names) > MOST_COLUMNS:
            size = f"{file.metadata.num_rows:,} rows and {len(names):,} columns"
            raise UserError(f"{path}: has {size}; at most {MOST_ROWS:,} and {MOST_COLUMNS:,} are read")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"{path}: has two columns {twice!r}")
        missing = next((name for name in columns or () if name not in names), None)
        if missing is not None:
            raise UserError(f"{path}: cannot be read as Parquet with the column '{missing}'; has: {', '.join(names)}")
        table = file.read(columns=None if columns is None else list(columns))
        _check(table, path)
        return table.replace_schema_metadata(None).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from None


def _check(table: pa.Table, path: Path) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = _kind(column.type)
        if kind is None:
            raise UserError(f"{path}: column '{name}' holds {column.type}; must be text, bytes, numbers or truths")
        wanted = _KINDS.get(name, kind)
        if kind != wanted and (kind != _WHOLE or wanted != _NUMBERS) and (kind != _NOTHING or name in _KEYS):
            raise UserError(f"{path}: column '{name}' must be {wanted} (found {kind})")
        if name in _KEYS and column.null_count:
            raise UserError(f"{path}: column '{name}' lacks {column.null_count} of its values")


def _kind(found: pa.DataType) -> str | None:
    """What a column of this type holds, `nothing` where all its values are missing. None for lists, dates, ..."""
    types = pa.types
    if types.is_dictionary(found):
        found = found.value_type
    if types.is_string(found) or types.is_large_string(found):
        return _TEXT
    if types.is_binary(found) or types.is_large_binary(found):
        return _BYTES
    if types.is_boolean(found):
        return _TRUTHS
    if types.is_null(found):
        return _NOTHING
    return _WHOLE if types.is_integer(found) else _NUMBERS if types.is_floating(found) else None
