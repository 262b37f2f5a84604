"""Published values, the paper's and others', and how they are found for a study's entries."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from gradleak.errors import UserError

TAIL = ["column", "metric", "value", "comment"]


@dataclass(frozen=True)
class Source:
    """A work that published numbers. name: in text. tables: which numbers of it are on file.

    prefix: what the names of its tables begin with.
    """

    prefix: str
    name: str
    tables: str

    @property
    def is_paper(self) -> bool:
        """Whether it is the paper that the package reproduces."""
        return self is PAPER


PAPER = Source("table", "the paper", "Tables 1 to 6")

#: In the order in which they are shown.
SOURCES = (
    PAPER,
    Source("guo_", "Guo et al. 2025", "arXiv:2503.11514; their attack IG by batch size, equal labels and local epochs"),
)


def published_names() -> list[str]:
    """Names of the published tables that are on file, the paper's first: `table1`, ..., `guo_batch`, ..."""
    folder = files("gradleak.resources") / "published"
    names = sorted(item.name.removesuffix(".csv") for item in folder.iterdir() if item.name.endswith(".csv"))
    return sorted(names, key=lambda name: SOURCES.index(source_of(name)))


def source_of(name: str) -> Source:
    """Who published a table of this name. Raises UserError for a name that no source's tables have."""
    found = next((source for source in SOURCES if name.startswith(source.prefix)), None)
    if found is None:
        raise UserError(f"no published values '{name}'; names begin with {', '.join(one.prefix for one in SOURCES)}")
    return found


def published(name: str) -> pd.DataFrame:
    """Published values of one table, one row per printed cell.

    Columns: `table`, the table's row labels (text), `column` (text), `metric`, `value` (float; rates and
    ratios as fractions; NaN where its text did not survive), `comment`. Raises UserError for an
    unknown name, and ValueError where the file breaks its format.
    """
    if name not in published_names():
        raise UserError(f"no published values '{name}'; known: {', '.join(published_names())}")
    with (files("gradleak.resources") / "published" / f"{name}.csv").open(encoding="utf-8") as file:
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


#: What `published_as` calls the published table's column heading.
COLUMN = "column"


class Published:
    """Published values of one table, looked up by the labels of a study's entries.

    sources: for each row label of the published table, and for its column, the study's label or column that
    names it. Text is compared without regard to letter case, numbers by value (`4`, `4.0` and "4" are one).
    """

    def __init__(self, name: str, columns: str, published_as: Mapping[str, str] | None = None) -> None:
        table = published(name)
        self.name = name
        self.sources = (
            {label: label for label in published_labels(table)} | {COLUMN: columns} | dict(published_as or {})
        )
        self._values = {
            tuple(_normal(row[key]) for key in [*self.sources, "metric"]): float(row["value"])
            for _, row in table.iterrows()
        }
        self._known = {label: list(dict.fromkeys(table[label])) for label in self.sources}

    def find(self, known: Mapping[str, object], metric: str) -> float | None:
        """The published value of an entry: NaN where it did not survive, None where its source has no such entry.

        known: values of the study's labels and columns.
        """
        key = self.key(known, metric)
        return None if key is None else self._values.get(key)

    def key(self, known: Mapping[str, object], metric: str) -> tuple[str, ...] | None:
        """The labels by which an entry is known among published values, or None if it lacks one."""
        if any(source not in known for source in self.sources.values()):
            return None
        return (*(_normal(known[source]) for source in self.sources.values()), _normal(metric))

    def beside(self, keys: list[str]) -> list[str]:
        """The sources that a study's table does not group by."""
        return [source for source in dict.fromkeys(self.sources.values()) if source not in keys]

    def apart(self, cells: pd.DataFrame, keys: list[str], where: str) -> dict[tuple[object, ...], dict[str, object]]:
        """Values of the sources `beside` the keys, per entry (combination of keys).

        cells: one row per cell with the keys and all sources. Raises UserError where one differs within an
        entry, which then mixes what the source lists apart.
        """
        extra = self.beside(keys)
        found: dict[tuple[object, ...], dict[str, object]] = {}
        for _, cell in cells.iterrows():
            own = {source: cell[source] for source in extra}
            entry = tuple(cell[key] for key in keys)
            if found.setdefault(entry, own) != own:
                raise UserError(
                    f"{where}: published '{self.name}' lists {', '.join(extra)} apart, but an entry of "
                    f"the table mixes {found[entry]} and {own}"
                )
        return found

    def unmatched(self, known: Mapping[str, object], where: str) -> UserError:
        """The error for a table without any entry of the source's; it shows an entry with these values."""
        ours = ", ".join(f"{label} '{known.get(source, math.nan)}'" for label, source in self.sources.items())
        theirs = "; ".join(f"{label}: {', '.join(values)}" for label, values in self._known.items())
        return UserError(
            f"{where}: published '{self.name}' has none of the table's entries, such as {ours}; it has {theirs}. "
            "'published_as' says which label of the study names the paper's row"
        )


def _normal(value: object) -> str:
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value).strip().casefold()
