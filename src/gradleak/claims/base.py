"""What a statistic is: it turns a study's results into samples, whose values a verdict compares with a margin."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from gradleak.analysis.statistics import difference_interval, mean_interval
from gradleak.frozen import Frozen
from gradleak.presentations.read import ShownExperiment
from gradleak.registry import Registry

#: Kinds of statistic (`difference`, `trend`, ...). A new kind is one new module in gradleak.claims.statistics.
STATISTICS: Registry[type["Statistic"]] = Registry("kind of statistic", "gradleak.claims.statistics")


class UntestedError(Exception):
    """A study lacks what a claim reads. The message says why, in one sentence."""


@dataclass(frozen=True)
class ClaimData:
    """What claims read: a study's name, title, experiments and results.parquet, and the folder of CSV files.

    folder: of files that `csv_column` names. None where the study comes without them. trials: by experiment, the number
    of each cell's trial by cell_id, where cells were left out of it (see `gradleak.claims.selection.narrowed`).
    """

    study: str
    title: str
    experiments: Mapping[str, ShownExperiment]
    results: pd.DataFrame
    folder: Path | None = None
    trials: Mapping[str, pd.Series] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """The study's name and title as text."""
        return self.study if self.title == self.study else f"{self.study} ({self.title.rstrip('.')})"


@dataclass(frozen=True)
class Sample:
    """The values of a statistic: one per unit (as a rule, per trial), which are taken as independent.

    values: (n,). cells: ids of the cells that were read. baseline: (m,), where the effect is the difference of two
    independent groups' means, else None. name: what tells it from a statistic's other samples, or nothing. notes: what
    of the experiment was left out, and why.
    """

    values: np.ndarray
    cells: tuple[str, ...] = ()
    baseline: np.ndarray | None = None
    name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def effect(self) -> float:
        """The mean, or the difference of means."""
        return float(self.values.mean() - (0.0 if self.baseline is None else self.baseline.mean()))

    def interval(self) -> tuple[float, float]:
        """The effect's 95 % interval by bootstrap over the values. NaN for fewer than `LEAST`."""
        if self.baseline is None:
            return mean_interval(self.values)
        return difference_interval(self.baseline, self.values)

    @property
    def fewest(self) -> int:
        """Number of units, in the smaller group where there are two."""
        return len(self.values) if self.baseline is None else min(len(self.values), len(self.baseline))


class Statistic(Frozen, ABC):
    """One kind of statistic with its arguments, as a claim's `statistic` gives them."""

    #: What one of the independent values belongs to, in the plural.
    unit: ClassVar[str] = "trials"

    @property
    @abstractmethod
    def effect(self) -> str:
        """What the effect size is, as text."""

    @property
    @abstractmethod
    def reads(self) -> str:
        """The experiment or file that it reads."""

    @abstractmethod
    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample, or several all of which must speak for a claim.

        Raises UntestedError where the study does not hold what is read, and UserError where its results are
        incomplete.
        """
