"""The presentation `correlation`: rank correlations of two columns as CSV and LaTeX."""

import csv
import io
import math
from typing import ClassVar, Literal

from gradleak.tables import latex
from gradleak.tables.correlations import LEAST, Correlation, CorrelationSpec, correlations
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.quantities import quantity
from gradleak.tables.spec import Presentation, PresentationSpec

Found = list[tuple[tuple[object, ...], Correlation]]


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
    heading = [latex.line([latex.escape(title) for title in [*labels, *numbers]])]
    names = [quantity(column, spec).name for column in (spec.x, spec.y)]
    body = []
    for row, result in found:
        texts = [spec.shown(value) for value in row] or [", ".join(names)]
        interval = "--" if math.isnan(result.low) else f"{_number(result.low)} to {_number(result.high)}"
        p = "--" if math.isnan(result.p) else f"{result.p:.3f}" if result.p >= 0.001 else "$<$0.001"
        texts += [str(result.n), _number(result.rho), interval, p, result.sign]
        body.append(latex.line([latex.escape(text) for text in texts]))
    parts = [
        f"{experiment.title.rstrip('.')}.",
        f"Spearman's rank correlation of {names[0]} and {names[1]} over {spec.heading(spec.over)}:"
        " $n$ points, each a mean over trials.",
        "95 % interval: Fisher's transformation; $p$: two-sided permutation test; undecided: $p$ from 0.05 up, or fewer"
        f" than {LEAST} points. All take the points as independent.",
    ]
    caption = latex.escape(" ".join(parts)) + rf" All values come from study \texttt{{{latex.escape(study)}}}."
    stem = f"{experiment.name}_{spec.suffix}" if spec.suffix else experiment.name
    return latex.frame(body, heading, len(labels), len(numbers), caption, f"{study}-{stem}_correlation", spec.wide)


def _number(value: float) -> str:
    """Two digits; a hyphen would be too short for a minus."""
    return "--" if math.isnan(value) else f"{value:.2f}".replace("-", "$-$")
