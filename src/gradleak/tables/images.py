"""One row per attacked image: what presentations need that compare images, not the means of cells."""

import pandas as pd

from gradleak.errors import UserError
from gradleak.tables.plan import Experiment
from gradleak.tables.summary import RATES, plain, select, unknown_column

#: Number of the image that a row of `image_table` attacks.
UNIT = "image of the data set"


def image_table(results: pd.DataFrame, experiment: Experiment, keys: list[str], values: list[str]) -> pd.DataFrame:
    """One row per image of each cell of the plan, from the restart that the objective chose, in the plan's order.

    Columns: `cell_id`, `UNIT`, the keys and the values (float). Rows with one `UNIT` attack the same image: the
    same index in the same data set, at any resolution. A key is a label of the experiment or a column of the
    results; a value is a numeric one of either. A label takes precedence over a column of the same name. Raises
    UserError for an unknown name (listing what exists), a rate, a cell without a result, or a missing key or value.
    """
    where = f"experiment '{experiment.name}'"
    rows = select(results, experiment)
    chosen = rows[rows["chosen"].astype(bool)].copy()
    source = [c for c in chosen.columns if c.startswith("dataset_") and c != "dataset_resolution"]
    chosen[UNIT] = chosen.groupby([*source, "image"], sort=False, dropna=False).ngroup()
    for name in [*keys, *values]:
        if name in RATES:
            raise UserError(f"{where}: '{name}' is a rate of a cell, not a value of an image")
        if name not in experiment.labels and (name not in chosen.columns or name in ("cell_id", UNIT)):
            raise unknown_column(rows, experiment, name)
    own = chosen.drop(columns=[label for label in experiment.labels if label in chosen.columns])
    table = experiment.cells.astype({"cell_id": str}).merge(own.astype({"cell_id": str}), on="cell_id", how="left")
    table = table[["cell_id", UNIT, *dict.fromkeys([*keys, *values])]].copy()
    for name in dict.fromkeys([*keys, *values]):
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
