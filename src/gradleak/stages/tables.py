"""Parquet files: written with fixed settings, so that equal content is equal bytes; and the stage `collect`."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradleak.errors import UserError
from gradleak.files import atomic
from gradleak.plan import Plan


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame atomically, without pandas metadata."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", version="2.6")


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file; raises UserError if it is missing or damaged."""
    try:
        return pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from None


def collect(plan: Plan, shards: list[Path], out: Path) -> None:
    """Join the shards of all batches into one file, in the order of the plan's cells.

    Raises UserError if a cell of the plan has no rows: averages never run over survivors.
    """
    frame = pd.concat([read_parquet(path) for path in shards], ignore_index=True)
    order = {cell: index for index, cell in enumerate(plan.cells)}
    frame = frame[frame["cell_id"].isin(order)]
    missing = [cell for cell in order if cell not in set(frame["cell_id"])]
    if missing:
        raise UserError(f"{out}: {len(missing)} of {len(order)} cells have no rows, the first is {missing[0]}")
    keys = [key for key in ("restart", "position") if key in frame.columns]
    frame["order"] = frame["cell_id"].map(order)
    frame = frame.sort_values(["order", *keys], kind="stable").drop(columns="order")
    write_parquet(frame.reset_index(drop=True), out)
