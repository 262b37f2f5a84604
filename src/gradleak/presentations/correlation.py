"""The presentation `correlation`: rank correlations of two columns over a factor."""

import math
from typing import Literal, Self

from pydantic import model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.statistics import LEAST_POINTS, Correlation, rank_correlation
from gradleak.analysis.summary import cell_table
from gradleak.analysis.text import csv_text, fixed, interval, minus
from gradleak.presentations import divergence, markup
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled

#: The correlations of a table: the values of its `rows`, and what was found.
Found = list[tuple[tuple[object, ...], Correlation]]


@PRESENTATIONS.register("correlation")
class CorrelationTable(Presentation):
    """A table of rank correlations: one line per combination of `rows`, of `x` and `y` over the values of `over`.

    A point is the mean of `x` and of `y` over the trials at one value of `over` (a round). wide: over both columns of a
    two-column page.

    Writes `<name>_correlation.csv` and `<name>_correlation.tex`, one line per correlation.
    """

    stage = "tables"
    endings = ("_correlation.csv", "_correlation.tex")

    kind: Literal["correlation"] = "correlation"
    rows: tuple[str, ...] = ()
    over: str
    x: str
    y: str
    wide: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.keys)) <= len(self.rows):
            raise ValueError("rows and over must not repeat a name")
        if self.x == self.y:
            raise ValueError(f"x and y are both '{self.x}', must differ")
        return self

    @property
    def keys(self) -> list[str]:
        """Rows and `over`."""
        return [*self.rows, self.over]

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        cell_table(data.results, experiment, self.keys, [self.x, self.y])

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Both files; raises UserError for an unknown column or a cell without results."""
        found = self._correlations(experiment, data)
        return {
            "_correlation.csv": self._csv(found).encode(),
            "_correlation.tex": self._latex(experiment, data, found).encode(),
        }

    def _correlations(self, experiment: Experiment, data: StudyData) -> Found:
        """One correlation per combination of `rows`, in the plan's order."""
        cells = cell_table(data.results, experiment, self.keys, [self.x, self.y])
        groups = cells.groupby(list(self.rows), sort=False) if self.rows else [((), cells)]
        found = []
        for key, group in groups:
            points = group.groupby(self.over, sort=False)[[self.x, self.y]].mean()
            found.append((tuple(key), rank_correlation(points[self.x], points[self.y])))
        return found

    def _csv(self, found: Found) -> str:
        heading = [*self.rows, "x", "y", "over", "n", "rho", "low", "high", "p", "sign"]
        rows = []
        for row, result in found:
            numbers = map(fixed, (result.rho, result.low, result.high))
            p = "" if math.isnan(result.p) else f"{result.p:.6g}"
            rows.append([*row, self.x, self.y, self.over, result.n, *numbers, p, result.sign])
        return csv_text([heading, *rows])

    def _latex(self, experiment: Experiment, data: StudyData, found: Found) -> str:
        labels = [self.heading(row) for row in self.rows] or [""]
        titles = ["$n$", "$\\rho$", "95 % interval", "$p$", "Correlation"]
        heading = [markup.line([markup.escape(title) for title in [*labels, *titles]])]
        x, y = (self.quantity(column).name for column in (self.x, self.y))
        body = []
        for row, result in found:
            texts = [self.shown(value) for value in row] or [f"{x}, {y}"]
            numbers = [
                minus(text, "$-$") or "--" for text in (fixed(result.rho, 2), interval(result.low, result.high, 2))
            ]
            texts += [str(result.n), *numbers, markup.p_latex(result.p), result.sign]
            body.append(markup.line([markup.escape(text) for text in texts]))
        sentences = [
            f"Spearman's rank correlation of {x} and {y} over {self.heading(self.over)}:"
            " $n$ points, each a mean over trials.",
            "95 % interval: Fisher's transformation; $p$: two-sided permutation test; undecided: $p$ from 0.05 up, or"
            f" fewer than {LEAST_POINTS} points. All take the points as independent.",
            divergence.counted(data.results, experiment),
        ]
        caption = markup.caption_latex(titled(experiment, data.results), sentences, data.study)
        name = f"{data.study}-{self.stem(experiment.name)}_correlation"
        return markup.frame(body, heading, len(labels), len(titles), caption, name, self.wide)
