"""What an analysis reads: the cells of an experiment with their labels, and the results of a study."""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from gradleak.analysis.baseline import Baseline


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
