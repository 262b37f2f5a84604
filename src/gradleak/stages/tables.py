"""Parquet files: written with fixed settings, so that equal content is equal bytes; and the stage `collect`."""

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradleak.cell import Cell, ModelSpec
from gradleak.errors import UserError
from gradleak.files import atomic
from gradleak.plan import Plan, checkpoint_id, training_id


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


def collect(
    plan: Plan, shards: list[Path], out: Path, smoothness: Path | None = None, trainings: Path | None = None
) -> None:
    """Join the shards of all batches into one file, in the order of the plan's cells.

    From the folder `smoothness`, the columns of IGSA are joined to the rows of the cells that ask for it, from
    `trainings`, `model_accuracy`: the attacked checkpoint's on test images (see `_accuracies`). Other cells have NaN;
    a study without such cells does not have the columns. Raises UserError if a cell of the plan has no rows, or lacks
    a measurement that it asks for: averages never run over survivors.
    """
    frame = pd.concat([read_parquet(path) for path in shards], ignore_index=True)
    order = {cell: index for index, cell in enumerate(plan.cells)}
    frame = frame[frame["cell_id"].isin(order)]
    missing = _without_rows(order, frame)
    if missing:
        raise UserError(f"{out}: {len(missing)} of {len(order)} cells have no rows, the first is {missing[0]}")
    keys = [key for key in ("restart", "position") if key in frame.columns]
    frame["order"] = frame["cell_id"].map(order)
    frame = frame.sort_values(["order", *keys], kind="stable").drop(columns="order")
    frame = frame.reset_index(drop=True)
    if smoothness is not None and plan.measured():
        frame = _join_smoothness(frame, plan, smoothness)
    if trainings is not None and plan.trainings:
        frame["model_accuracy"] = frame["cell_id"].map(_accuracies(plan, trainings)).astype(float)
    write_parquet(frame, out)


def _without_rows(cells: Iterable[str], frame: pd.DataFrame) -> list[str]:
    found = set(frame["cell_id"])
    return [cell for cell in cells if cell not in found]


def _join_smoothness(frame: pd.DataFrame, plan: Plan, folder: Path) -> pd.DataFrame:
    found = pd.concat([read_parquet(folder / f"{batch}.parquet") for batch in plan.measured()], ignore_index=True)
    asked = [cell.id for cell in plan.cells.values() if cell.smoothness is not None]
    missing = _without_rows(asked, found)
    if missing:
        raise UserError(f"{folder}: no IGSA of cell {missing[0]}; run `gradleak smoothness`")
    return frame.merge(found[found["cell_id"].isin(asked)], on="cell_id", how="left", validate="many_to_one")


def _accuracies(plan: Plan, folder: Path) -> dict[str, float]:
    """Test accuracy of the checkpoint that a cell attacks, by cell, as far as a training of the study measured it.

    Round 0 belongs to no training: it is the initialisation of all trainings of its model, and has the accuracy that
    they found, unless they measured it on different test images.
    """
    measured: dict[str, dict[int, float]] = {}
    initial: dict[str, dict[object, float]] = defaultdict(dict)
    for training in plan.trainings:
        rows = read_parquet(folder / f"{training}.parquet")
        measured[training] = dict(zip(rows["round"], rows["accuracy"], strict=True))
        cell = plan.training_cell(training)
        spec = cell.model.training
        assert spec is not None
        images = (spec.evaluate, spec.seed) if spec.evaluate else None
        initial[checkpoint_id(_untrained(cell), plan.config)][images] = measured[training][0]
    found: dict[str, float] = {}
    for name, cell in plan.cells.items():
        if cell.model.round:
            found[name] = measured[training_id(cell, plan.config)][cell.model.round]
        else:
            values = list(initial.get(checkpoint_id(cell, plan.config), {}).values())
            found[name] = values[0] if len(values) == 1 else math.nan
    return found


def _untrained(cell: Cell) -> Cell:
    """The cell at round 0 of its training."""
    model = ModelSpec.model_validate(cell.model.model_dump() | {"round": 0})
    return cell.model_copy(update={"model": model})
