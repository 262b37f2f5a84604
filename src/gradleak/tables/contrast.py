"""The presentation `contrast`: statements about differences, measured over images, as CSV and LaTeX."""

import csv
import io
import math
from typing import ClassVar, Literal

from gradleak.tables import latex
from gradleak.tables.contrasts import Contrast, ContrastSpec, contrasts
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.quantities import quantity
from gradleak.tables.spec import Presentation, PresentationSpec

_TESTS = {"wilcoxon": "Wilcoxon signed-rank test", "mann-whitney": "Mann-Whitney $U$ test"}


class ContrastTable(Presentation):
    """Writes `<name>_contrast.csv` and `<name>_contrast.tex`, one line per comparison."""

    Spec = ContrastSpec
    stage: ClassVar[Literal["tables", "figures"]] = "tables"
    endings = ("_contrast.csv", "_contrast.tex")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Both files; raises UserError as `contrasts`."""
        assert isinstance(spec, ContrastSpec)
        found = contrasts(spec, experiment, data)
        return {
            "_contrast.csv": _csv(spec, found).encode(),
            "_contrast.tex": _latex(spec, experiment, data.study, found).encode(),
        }


def _csv(spec: ContrastSpec, found: list[Contrast]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = ["baseline_mean", "against_mean", "difference", "low", "high"]
    beside = ["published_difference", "published_sign"] if spec.published else []
    counts = ["n"] if spec.paired else ["n_baseline", "n_against"]
    writer.writerow([*spec.rows, "baseline", "against", "metric", *counts, *numbers, "p", "test", "sign", *beside])
    for entry in found:
        result = entry.result
        n = [result.count_baseline, result.count_against][: len(counts)]
        values = [result.baseline, result.against, result.difference, result.low, result.high]
        fixed = ["" if math.isnan(value) else f"{value:.6f}" for value in values]
        p = f"{result.p:.6g}"
        paper = ["" if math.isnan(entry.published) else f"{entry.published:.6f}", entry.published_sign]
        sides = [*entry.row, entry.baseline, entry.against, entry.metric]
        writer.writerow([*sides, *n, *fixed, p, result.test, result.sign, *paper[: len(beside)]])
    return text.getvalue()


def _latex(spec: ContrastSpec, experiment: Experiment, study: str, found: list[Contrast]) -> str:
    """The table as a LaTeX environment."""
    names_metric = not spec.metrics and (len(spec.values) > 1 or not spec.rows)
    titles = [*map(spec.heading, spec.rows), *(["Metric"] if names_metric else []), _compared(spec)]
    numbers = ["$n$", "Baseline", "Against", "Difference", "95 % interval", "$p$", "Against is"]
    numbers += ["Paper", "Paper's is"] if spec.published else []
    heading = [latex.line([latex.escape(title) for title in [*titles, *numbers]])]
    body: list[str] = []
    above: list[str] = []
    for entry in found:
        labels = [*map(spec.shown, entry.row)]
        labels += [quantity(entry.metric, spec).title] if names_metric else []
        # Labels that the line above has, too, are not repeated.
        same = next((i for i, label in enumerate(labels) if above[i : i + 1] != [label]), len(labels))
        above = labels
        texts = [*([""] * same), *labels[same:], _pair(spec, entry), *_numbers(spec, entry)]
        body.append(latex.line([latex.escape(text) for text in texts]))
    stem = f"{experiment.name}_{spec.suffix}" if spec.suffix else experiment.name
    name = f"{study}-{stem}_contrast"
    caption = _caption(spec, experiment, study, found)
    return latex.frame(body, heading, len(titles), len(numbers), caption, name, spec.wide)


def _compared(spec: ContrastSpec) -> str:
    if spec.between:
        return spec.heading(spec.between.label)
    return quantity(spec.halves, spec).name if spec.halves else "Metric"


def _pair(spec: ContrastSpec, entry: Contrast) -> str:
    sides = (entry.baseline, entry.against)
    first, second = (quantity(side, spec).name if spec.metrics else spec.shown(side) for side in sides)
    return rf"{first} $\to$ {second}"


def _numbers(spec: ContrastSpec, entry: Contrast) -> list[str]:
    result = entry.result
    shape = quantity(entry.metric, spec)
    n = f"{result.count_baseline}" if spec.paired else f"{result.count_baseline}, {result.count_against}"
    bounds = [_signed(shape.text(bound)) for bound in (result.low, result.high)]
    return [
        n,
        shape.text(result.baseline),
        shape.text(result.against),
        _signed(shape.text(result.difference)),
        "--" if math.isnan(result.low) else f"{bounds[0]} to {bounds[1]}",
        f"{result.p:.3f}" if result.p >= 0.001 else "$<$0.001",
        result.sign,
        *_paper(spec, entry),
    ]


def _paper(spec: ContrastSpec, entry: Contrast) -> list[str]:
    if not spec.published:
        return []
    none = math.isnan(entry.published)
    return ["--" if none else _signed(quantity(entry.metric, spec).text(entry.published)), entry.published_sign or "--"]


def _signed(text: str) -> str:
    """A number with its sign; a hyphen would be too short for a minus."""
    bare = text.removeprefix("-")
    if not bare.strip("0."):
        return bare
    return f"$-${bare}" if text != bare else f"$+${bare}"


def _caption(spec: ContrastSpec, experiment: Experiment, study: str, found: list[Contrast]) -> str:
    if spec.metrics:
        unit = "Two metrics of the same images"
    elif spec.pair_by:
        unit = f"Images in pairs by {', '.join(map(spec.heading, spec.pair_by))}"
    elif spec.halves:
        name = quantity(spec.halves, spec).name
        unit = f"Images below the median of {name} (baseline) and above"
    else:
        unit = "Independent groups of images"
    compared = list(dict.fromkeys(entry.metric for entry in found))
    names = "" if spec.metrics else ": " + ", ".join(quantity(metric, spec).title for metric in compared)
    tests = ", ".join(dict.fromkeys(_TESTS[entry.result.test] for entry in found))
    many = f", not corrected for {len(found)} comparisons" if len(found) > 1 else ""
    parts = [
        latex.escape(f"{experiment.title.rstrip('.')}."),
        latex.escape(f"{unit}{names}; means over images, baseline $\\to$ against."),
        latex.escape("Interval of the difference: percentile bootstrap; higher or lower: it excludes 0."),
        latex.escape(f"$p$: two-sided {tests}{many}."),
        rf"All values come from study \texttt{{{latex.escape(study)}}}.",
    ]
    return " ".join(parts)
