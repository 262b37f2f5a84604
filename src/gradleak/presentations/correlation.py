"""The presentation `correlation`: rank correlations of two columns over a factor."""

import csv
import io
import math
from typing import ClassVar, Literal, Self

import pandas as pd
from pydantic import model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.statistics import LEAST_POINTS, Correlation, rank_correlation
from gradleak.analysis.summary import cell_table
from gradleak.presentations import markup
from gradleak.presentations.base import PRESENTATIONS, Presentation, PresentationSpec, quantity


class CorrelationSpec(PresentationSpec):
    """A table of rank correlations: one line per combination of `rows`, of `x` and `y` over the values of `over`.

    A point is the mean of `x` and of `y` over the trials at one value of `over` (a round). wide: over both columns of a
    two-column page.
    """

    kind: Literal["correlation"] = "correlation"
    rows: tuple[str, ...] = ()
    over: str
    x: str
    y: str
    wide: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.columns_used())) <= len(self.rows):
            raise ValueError("rows and over must not repeat a name")
        if self.x == self.y:
            raise ValueError(f"x and y are both '{self.x}', must differ")
        return self

    def columns_used(self) -> list[str]:
        """Rows and `over`."""
        return [*self.rows, self.over]


def correlations(
    spec: CorrelationSpec, experiment: Experiment, data: StudyData
) -> list[tuple[tuple[object, ...], Correlation]]:
    """One correlation per combination of `rows`, in the plan's order; raises UserError as `cell_table`."""
    cells = cell_table(data.results, experiment, spec.columns_used(), [spec.x, spec.y])
    groups: list[tuple[tuple[object, ...], pd.DataFrame]] = [((), cells)]
    if spec.rows:
        groups = [(tuple(key), group) for key, group in cells.groupby(list(spec.rows), sort=False)]
    found = []
    for key, group in groups:
        points = group.groupby(spec.over, sort=False)[[spec.x, spec.y]].mean()
        found.append((key, rank_correlation(points[spec.x], points[spec.y])))
    return found


Found = list[tuple[tuple[object, ...], Correlation]]


@PRESENTATIONS.register("correlation")
class CorrelationTable(Presentation):
    """Writes `<name>_correlation.csv` and `<name>_correlation.tex`, one line per correlation."""

    Spec = CorrelationSpec
    stage: ClassVar[Literal["tables", "figures"]] = "tables"
    endings = ("_correlation.csv", "_correlation.tex")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Both files; raises UserError as `correlations`."""
        assert isinstance(spec, CorrelationSpec)
        found = correlations(spec, experiment, data)
        return {
            "_correlation.csv": _csv(spec, found).encode(),
            "_correlation.tex": _latex(spec, experiment, data.study, found).encode(),
        }


def _csv(spec: CorrelationSpec, found: Found) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*spec.rows, "x", "y", "over", "n", "rho", "low", "high", "p", "sign"])
    for row, result in found:
        fixed = ["" if math.isnan(value) else f"{value:.6f}" for value in (result.rho, result.low, result.high)]
        p = "" if math.isnan(result.p) else f"{result.p:.6g}"
        writer.writerow([*row, spec.x, spec.y, spec.over, result.n, *fixed, p, result.sign])
    return text.getvalue()


def _latex(spec: CorrelationSpec, experiment: Experiment, study: str, found: Found) -> str:
    labels = [spec.heading(row) for row in spec.rows] or [""]
    numbers = ["$n$", "$\\rho$", "95 % interval", "$p$", "Correlation"]
    heading = [markup.line([markup.escape(title) for title in [*labels, *numbers]])]
    names = [quantity(column, spec).name for column in (spec.x, spec.y)]
    body = []
    for row, result in found:
        texts = [spec.shown(value) for value in row] or [", ".join(names)]
        interval = "--" if math.isnan(result.low) else f"{_number(result.low)} to {_number(result.high)}"
        p = "--" if math.isnan(result.p) else f"{result.p:.3f}" if result.p >= 0.001 else "$<$0.001"
        texts += [str(result.n), _number(result.rho), interval, p, result.sign]
        body.append(markup.line([markup.escape(text) for text in texts]))
    parts = [
        f"{experiment.title.rstrip('.')}.",
        f"Spearman's rank correlation of {names[0]} and {names[1]} over {spec.heading(spec.over)}:"
        " $n$ points, each a mean over trials.",
        "95 % interval: Fisher's transformation; $p$: two-sided permutation test; undecided: $p$ from 0.05 up, or fewer"
        f" than {LEAST_POINTS} points. All take the points as independent.",
    ]
    caption = markup.escape(" ".join(parts)) + rf" All values come from study \texttt{{{markup.escape(study)}}}."
    stem = f"{experiment.name}_{spec.suffix}" if spec.suffix else experiment.name
    return markup.frame(body, heading, len(labels), len(numbers), caption, f"{study}-{stem}_correlation", spec.wide)


def _number(value: float) -> str:
    """Two digits; a hyphen would be too short for a minus."""
    return "--" if math.isnan(value) else f"{value:.2f}".replace("-", "$-$")
