"""Finding the paper's published value of a table's entry."""

import math

import pandas as pd

from gradleak.errors import UserError
from gradleak.resources import published, published_labels


class Published:
    """Published values of one table, looked up by the labels of a study's entries.

    Text is compared without regard to letter case, numbers by value (`4`, `4.0` and "4" are one).
    """

    def __init__(self, name: str) -> None:
        table = published(name)
        self.name = name
        self.labels = published_labels(table)
        self._values = {
            tuple(_normal(row[key]) for key in [*self.labels, "column", "metric"]): float(row["value"])
            for _, row in table.iterrows()
        }

    def value(self, labels: dict[str, object], column: object, metric: str) -> float:
        """The published value; NaN where there is none or it did not survive."""
        if any(label not in labels for label in self.labels):
            return math.nan
        key = (*(_normal(labels[label]) for label in self.labels), _normal(column), _normal(metric))
        return self._values.get(key, math.nan)

    def fixed_labels(self, cells: pd.DataFrame, keys: list[str], where: str) -> dict[tuple[object, ...], dict]:
        """Labels of the published table that a study's table does not group by, per entry (combination of
        keys).

        cells: one row per cell with the keys and these labels. Raises UserError where such a label differs
        within an entry, which then mixes what the paper lists apart.
        """
        extra = [label for label in self.labels if label not in keys]
        found: dict[tuple[object, ...], dict] = {}
        for _, cell in cells.iterrows():
            labels = {label: cell[label] for label in extra}
            entry = tuple(cell[key] for key in keys)
            if found.setdefault(entry, labels) != labels:
                raise UserError(
                    f"{where}: published '{self.name}' lists {', '.join(extra)} apart, but an entry of "
                    f"the table mixes {found[entry]} and {labels}"
                )
        return found


def _normal(value: object) -> str:
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value).strip().casefold()
