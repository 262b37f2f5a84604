"""Stage `collect`: joins the rows of all batches, what was measured beside the attacks, and rows of archives."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow as pa

from gradleak.errors import UserError
from gradleak.parquet import read_parquet, write_parquet
from gradleak.study.outline import Outline
from gradleak.study.reused import RESULTS


def collect(
    outline: Outline,
    shards: list[Path],
    out: Path,
    smoothness: Path | None = None,
    trainings: Path | None = None,
    archives: Collection[Path] = (),
) -> None:
    """Join the shards of all batches into one file, in the order of the plan's cells.

    From the folder `smoothness`, the columns of IGSA are joined to the rows of the cells that ask for it, from
    `trainings`, `model_accuracy`: the attacked checkpoint's on test images, as far as a training of the study measured
    it, or one of a study whose cells are reused. Other cells have NaN; a study without such cells does not have the
    columns. With `archives`, the rows of reused cells come from there, as they are. Without (pictures, which archives
    do not hold), reused cells are left out.
    Raises UserError if a cell of the plan has no rows, or lacks a measurement that it asks for: averages never run over
    survivors; for an archive that is not the one that was planned with; and for columns that do not fit together.
    """
    if not outline.cells:
        raise UserError(f"{out}: the plan of study '{outline.study}' has no cells; run `gradleak plan` again")
    frames = [_computed(outline, shards, out, smoothness, trainings)] if shards else []
    for entry in outline.reused if archives else []:
        if Path(entry.archive) not in archives:
            raise UserError(f"{out}: the plan takes {len(entry.cells)} cells from {entry.archive} (--archive)")
        rows = read_parquet(entry.folder() / RESULTS)
        frames.append(rows[rows["cell_id"].isin(entry.cells)])
    wanted = list(outline.cells if archives else outline.computed)
    if not frames:
        raise UserError(f"{out}: no shards, and no archives to take rows from")
    frame = pd.concat(frames, ignore_index=True)
    if archives and "model_accuracy" in frame:
        known = frame.drop_duplicates("cell_id").set_index("cell_id")["model_accuracy"]
        before = frame["cell_id"].map(outline.accuracies_before).map(known)
        frame["model_accuracy"] = frame["model_accuracy"].fillna(before.astype(float))
    order = {cell: index for index, cell in enumerate(wanted)}
    missing = _without_rows(wanted, frame)
    if missing:
        raise UserError(f"{out}: {len(missing)} of {len(order)} cells have no rows, the first is {missing[0]}")
    keys = [key for key in ("restart", "position") if key in frame.columns]
    frame["order"] = frame["cell_id"].map(order)
    frame = frame.sort_values(["order", *keys], kind="stable").drop(columns="order")
    try:
        write_parquet(frame, out)
    except pa.ArrowException as error:
        raise UserError(f"{out}: the columns of shards and archives do not fit together ({error})") from None


def _computed(
    outline: Outline, shards: list[Path], out: Path, smoothness: Path | None, trainings: Path | None
) -> pd.DataFrame:
    """The rows of the cells that the study computes, with what was measured of them."""
    frame = pd.concat([read_parquet(path) for path in shards], ignore_index=True)
    frame = frame[frame["cell_id"].isin(outline.computed)].reset_index(drop=True)
    if smoothness is not None and outline.measured:
        frame = _join_smoothness(frame, outline, smoothness)
    if trainings is not None and outline.trainings:
        frame["model_accuracy"] = _accuracies(frame["cell_id"], outline, trainings)
    return frame


def _without_rows(cells: list[str], frame: pd.DataFrame) -> list[str]:
    found = set(frame["cell_id"])
    return [cell for cell in cells if cell not in found]


def _join_smoothness(frame: pd.DataFrame, outline: Outline, folder: Path) -> pd.DataFrame:
    found = pd.concat([read_parquet(folder / f"{batch}.parquet") for batch in outline.measured], ignore_index=True)
    asking = {cell for cells in outline.measured.values() for cell in cells}
    asked = [cell for cell in outline.cells if cell in asking]
    missing = _without_rows(asked, found)
    if missing:
        raise UserError(f"{folder}: no IGSA of cell {missing[0]}; run `gradleak smoothness`")
    return frame.merge(found[found["cell_id"].isin(asked)], on="cell_id", how="left", validate="many_to_one")


def _accuracies(cells: pd.Series, outline: Outline, folder: Path) -> pd.Series:
    """Accuracy of the model that each of the cells attacks. NaN where no training measured it."""
    measured: dict[tuple[str, int], float] = {}
    for training in outline.trainings:
        rows = read_parquet(folder / f"{training}.parquet")
        measured |= {
            (training, int(number)): float(value) for number, value in zip(rows["round"], rows["accuracy"], strict=True)
        }
    found = {cell: measured[source] for cell, source in outline.accuracies.items()}
    return cells.map(found).astype(float)
