"""Data files that ship with the package, and the loader of the paper's published values."""

from importlib.resources import files

import pandas as pd

from gradleak.errors import UserError

TAIL = ["column", "metric", "value", "comment"]


def published_names() -> list[str]:
    """Names of the published tables that are on file: `table1`, ..."""
    folder = files(__name__) / "published"
    return sorted(item.name.removesuffix(".csv") for item in folder.iterdir() if item.name.endswith(".csv"))


def published(name: str) -> pd.DataFrame:
    """Published values of one of the paper's tables, one row per printed cell.

    Columns: `table`, the table's row labels (text), `column` (text), `metric`, `value` (float; rates and
    ratios as fractions; NaN where the paper's text did not survive), `comment`. Raises UserError for an
    unknown name, and ValueError where the file breaks its format.
    """
    if name not in published_names():
        raise UserError(f"no published values '{name}'; known: {', '.join(published_names())}")
    with (files(__name__) / "published" / f"{name}.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    _check(name, table)
    table["value"] = pd.to_numeric(table["value"].where(table["value"] != ""))
    return table


def published_labels(table: pd.DataFrame) -> list[str]:
    """The row labels of a table that `published` returned, e.g. `dataset`, `attack`."""
    return [str(column) for column in table.columns if column not in {"table", *TAIL}]


def _check(name: str, table: pd.DataFrame) -> None:
    header = list(table.columns)
    if header[0] != "table" or header[-len(TAIL) :] != TAIL or len(set(header)) != len(header):
        raise ValueError(f"published/{name}.csv: header must be table, row labels, {', '.join(TAIL)}; found {header}")
    if set(table["table"]) != {name}:
        raise ValueError(f"published/{name}.csv: column 'table' must be '{name}' throughout")
    keys = [*published_labels(table), "column", "metric"]
    if table.duplicated(keys).any():
        raise ValueError(f"published/{name}.csv: two rows with the same {', '.join(keys)}")
    if (table[keys] == "").any().any():
        raise ValueError(f"published/{name}.csv: empty cell in one of {', '.join(keys)}")
    silent = (table["value"] == "") & (table["comment"] == "")
    if silent.any():
        raise ValueError(f"published/{name}.csv: a missing value needs a comment that says why")
