"""What an analysis reads: the cells of an experiment with their labels, and the results of a study."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd

from gradleak.analysis.choice import Choice
from gradleak.frozen import Frozen


class Baseline(Frozen):
    """What an experiment compares with: its cells in which nothing protects yet.

    where: labels or columns, and the values (a list, or `least` and `most`) of these cells; those that the study does
    not have choose nothing. each: labels or columns that tell groups apart, such as models and attacks; every group has
    a baseline of its own. Those that the study does not have are left out.
    """

    where: Mapping[str, Choice] = {}
    each: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """One named experiment of a study.

    cells: one row per cell of the plan in the plan's order, column `cell_id` and one column per label
    (object; NaN where a cell lacks the label). baseline: what it compares with.
    """

    name: str
    title: str
    paper: str
    cells: pd.DataFrame
    baseline: Baseline | None = None

    @property
    def labels(self) -> list[str]:
        """Names of the labels that the study gave its cells."""
        return [str(column) for column in self.cells.columns if column != "cell_id"]


@dataclass(frozen=True)
class StudyData:
    """A study's results: `results` as in results.parquet; `images` as in images.parquet, where it was
    read. `reused`: cells that come from archives, which hold no pictures.
    """

    study: str
    results: pd.DataFrame
    images: pd.DataFrame | None = None
    reused: Collection[str] = frozenset()
