"""Results as tables of cells and of images: means over trials, rates of batches, values of single images.

The value of a cell is the mean over the images of the restart that the attack's objective chose. BRR and WSRR (Appx.
C.II) use all restarts. A cell without results is an error: no average ever runs over survivors.
"""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

import pandas as pd

from gradleak.analysis.experiment import Experiment
from gradleak.errors import UserError
from gradleak.metrics.rates import batch_reconstruction_rate, worst_sample_reconstruction_rate

ExperimentT = TypeVar("ExperimentT", bound=Experiment)

#: Column of cells: whether the client diverged; of entries: in how many trials it did.
DIVERGED = "diverged"

#: Metrics computed from all restarts of a cell.
RATES = {"brr": batch_reconstruction_rate, "wsrr": worst_sample_reconstruction_rate}


def select(results: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Rows of `results` (one per reconstructed image) that belong to the experiment's cells.

    Raises UserError naming the first cell that has no row, or whose images do not have exactly one chosen
    restart.
    """
    rows = results[results["cell_id"].isin(experiment.cells["cell_id"])]
    found = set(rows["cell_id"])
    missing = [str(cell) for cell in experiment.cells["cell_id"] if cell not in found]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(f"experiment '{experiment.name}': no results for cell {missing[0]}{more}")
    chosen = rows["chosen"].astype(bool).groupby([rows["cell_id"], rows["image"]]).sum()
    if (chosen != 1).any():
        cell, image = chosen.index[chosen != 1][0]
        raise UserError(f"experiment '{experiment.name}': cell {cell}, image {image} needs one chosen restart")
    return rows


def unattacked(results: pd.DataFrame, experiment: Experiment) -> dict[str, str]:
    """The cells of an experiment that were not attacked, and why (column `unattacked`)."""
    if "unattacked" not in results:
        return {}
    found = results[results["cell_id"].isin(experiment.cells["cell_id"])].dropna(subset="unattacked")
    return dict(zip(found["cell_id"], found["unattacked"], strict=True))


def diverged(results: pd.DataFrame, experiment: Experiment) -> list[str]:
    """The attacked cells of an experiment whose client diverged in its local steps (column `client_diverged`)."""
    if "client_diverged" not in results:
        return []
    marked = set(results["cell_id"][results["client_diverged"].eq(True)])
    skipped = unattacked(results, experiment)
    return [str(cell) for cell in dict.fromkeys(experiment.cells["cell_id"]) if cell in marked and cell not in skipped]


def attacked(results: pd.DataFrame, experiment: ExperimentT) -> ExperimentT:
    """The experiment without the cells that were not attacked: no number may be of them.

    Raises UserError where none is left.
    """
    reasons = unattacked(results, experiment)
    left = experiment.cells[~experiment.cells["cell_id"].isin(list(reasons))]
    if left.empty:
        why = "; ".join(dict.fromkeys(reasons.values()))
        raise UserError(f"experiment '{experiment.name}': no cell was attacked ({why})")
    return replace(experiment, cells=left.reset_index(drop=True)) if reasons else experiment


def cell_table(
    results: pd.DataFrame, experiment: Experiment, keys: list[str], values: list[str], gaps: Collection[str] = ()
) -> pd.DataFrame:
    """One row per attacked cell of the plan, in the plan's order: `cell_id`, the keys, and the values (float).

    A key is a label of the experiment or a column of the results that is constant within a cell; a value is
    a numeric column of the results, a numeric label, or a rate; those of `gaps` may be missing (NaN). A label takes
    precedence over a column of the same name. Raises UserError for an unknown name (listing what exists), a cell
    without a result, or another missing value.
    """
    experiment = attacked(results, experiment)
    rows = select(results, experiment)
    table = pd.DataFrame({"cell_id": experiment.cells["cell_id"].astype(str)})
    for key in keys:
        table[key] = _key(rows, experiment, key).map(plain).astype(object)
    for name in values:
        table[name] = _value(rows, experiment, name)
        empty = table["cell_id"][~table[name].map(math.isfinite)]
        if len(empty) and name not in gaps:
            raise UserError(f"experiment '{experiment.name}': '{name}' of cell {empty.iloc[0]} is not a number")
    twice = table.duplicated(["cell_id", *keys])
    if twice.any():
        cell = table["cell_id"][twice].iloc[0]
        raise UserError(
            f"experiment '{experiment.name}': cell {cell} is listed twice for the same {', '.join(keys) or 'entry'}"
        )
    return table


def summarise(cells: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """One row per entry (combination of keys, in order of first appearance) and metric.

    Columns: the keys, `metric`, `value` (mean over trials), `std` (sample standard deviation, NaN for one
    trial), `low`, `high` (least and greatest trial), `trials` and, where the cells have that column, `DIVERGED`.
    """
    grouped = cells.groupby(keys, sort=False) if keys else [((), cells)]
    records = []
    for entry, group in grouped:
        for metric in values:
            trials = group[metric]
            records.append(
                {
                    **dict(zip(keys, entry, strict=True)),
                    "metric": metric,
                    "value": float(trials.mean()),
                    "std": float(trials.std(ddof=1)) if len(trials) > 1 else math.nan,
                    "low": float(trials.min()),
                    "high": float(trials.max()),
                    "trials": len(trials),
                    **({DIVERGED: int(group[DIVERGED].sum())} if DIVERGED in group else {}),
                }
            )
    return pd.DataFrame(records)


def ordered(values: pd.Series) -> list[object]:
    """The distinct values of a key: ascending where all are numbers, else in order of first appearance."""
    distinct = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct):
        return sorted(distinct)
    return distinct


def plain(value: object) -> object:
    """A scalar as a plain Python object; whole floats become int, so that 4 and 4.0 are one value."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _key(rows: pd.DataFrame, experiment: Experiment, key: str) -> pd.Series:
    if key in experiment.labels:
        found = experiment.cells[key]
    elif key in rows.columns and key != "cell_id":
        per_cell = rows[["cell_id", key]].drop_duplicates()
        varying = per_cell["cell_id"][per_cell["cell_id"].duplicated()]
        if len(varying):
            raise UserError(
                f"experiment '{experiment.name}': '{key}' differs within cell {varying.iloc[0]}: cannot group by it"
            )
        found = experiment.cells["cell_id"].map(per_cell.set_index("cell_id")[key])
    else:
        raise unknown_column(rows, experiment, key)
    empty = experiment.cells["cell_id"][found.isna()]
    if len(empty):
        raise UserError(f"experiment '{experiment.name}': cell {empty.iloc[0]} has no value for '{key}'")
    return found


def _value(rows: pd.DataFrame, experiment: Experiment, name: str) -> pd.Series:
    cells = experiment.cells["cell_id"]
    if name in RATES:
        try:
            return cells.map(RATES[name](rows)).astype(float)
        except (KeyError, ValueError) as error:
            raise UserError(f"experiment '{experiment.name}': '{name}' cannot be computed ({error})") from None
    if name in experiment.labels:
        return _numbers(experiment.cells[name], f"experiment '{experiment.name}': label '{name}'")
    if name not in rows.columns:
        raise unknown_column(rows, experiment, name)
    if not pd.api.types.is_numeric_dtype(rows[name]) or pd.api.types.is_bool_dtype(rows[name]):
        raise UserError(f"experiment '{experiment.name}': column '{name}' is not numeric")
    chosen = rows[rows["chosen"].astype(bool)]
    # skipna=False: an image without a value must show, not be averaged away.
    means = chosen.groupby("cell_id")[name].agg(lambda values: values.mean(skipna=False))
    return cells.map(means).astype(float)


def unknown_column(rows: pd.DataFrame, experiment: Experiment, name: str) -> UserError:
    """The error for a name that is neither a label of the experiment nor a column of the results."""
    columns = [str(column) for column in rows.columns if column != "cell_id"]
    return UserError(
        f"experiment '{experiment.name}': unknown column '{name}'; "
        f"labels: {', '.join(experiment.labels) or 'none'}; columns: {', '.join([*columns, *RATES])}"
    )


#: Number of the image that a row of `image_table` attacks.
UNIT = "image of the data set"


def image_table(results: pd.DataFrame, experiment: Experiment, keys: list[str], values: list[str]) -> pd.DataFrame:
    """One row per image of each attacked cell, from the restart that the objective chose, in the plan's order.

    Columns: `cell_id`, `UNIT`, the keys and the values (float). Rows with one `UNIT` attack the same image: the
    same index in the same data set, at any resolution. A key is a label of the experiment or a column of the
    results; a value is a numeric one of either. A label takes precedence over a column of the same name. Raises
    UserError for an unknown name (listing what exists), a rate, a cell without a result, or a missing key or value.
    """
    where = f"experiment '{experiment.name}'"
    experiment = attacked(results, experiment)
    rows = select(results, experiment)
    chosen = rows[rows["chosen"].astype(bool)].copy()
    source = [c for c in chosen.columns if c.startswith("dataset_") and c != "dataset_resolution"]
    chosen[UNIT] = chosen.groupby([*source, "image"], sort=False, dropna=False).ngroup()
    names = list(dict.fromkeys([*keys, *values]))
    for name in names:
        if name in RATES:
            raise UserError(f"{where}: '{name}' is a rate of a cell, not a value of an image")
        if name not in experiment.labels and (name not in chosen.columns or name in ("cell_id", UNIT)):
            raise unknown_column(rows, experiment, name)
    own = chosen.drop(columns=[label for label in experiment.labels if label in chosen.columns])
    table = experiment.cells.astype({"cell_id": str}).merge(own.astype({"cell_id": str}), on="cell_id", how="left")
    table = table[["cell_id", UNIT, *names]].copy()
    for name in names:
        empty = table["cell_id"][table[name].isna()]
        if len(empty):
            raise UserError(f"{where}: cell {empty.iloc[0]} has no value for '{name}'")
    for name in values:
        table[name] = _numbers(table[name], f"{where}: '{name}'")
    for key in keys:
        if key not in values:
            table[key] = table[key].map(plain).astype(object)
    # A cell that the plan lists twice, under labels that are no keys here, is one measurement.
    return table.drop_duplicates().reset_index(drop=True)


def _numbers(column: pd.Series, what: str) -> pd.Series:
    if pd.api.types.is_bool_dtype(column):
        raise UserError(f"{what} is not numeric")
    try:
        return column.astype(float)
    except (TypeError, ValueError):
        raise UserError(f"{what} is not numeric") from None
