"""The presentation `contrast`: images compared in pairs or groups, with an interval and a rank test."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import BeforeValidator, Field, model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.published import Published
from gradleak.analysis.statistics import Comparison, compare_groups, compare_pairs
from gradleak.analysis.summary import UNIT, image_table
from gradleak.analysis.text import as_text, csv_text, fixed
from gradleak.errors import UserError
from gradleak.frozen import Frozen
from gradleak.presentations import divergence, markup
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled

LOWER, UPPER = "lower half", "upper half"

_TESTS = {"wilcoxon": "Wilcoxon signed-rank test", "mann-whitney": "Mann-Whitney $U$ test"}

#: The values of a row, and what is compared: as many values of one side as of the other where they are pairs.
Row = tuple[object, ...]
Sides = tuple[pd.Series, pd.Series]

#: A row, its baseline, what is compared with it, and the metric; and the values of both sides.
Compared = tuple[tuple[Row, str, str, str], Sides]

Text = Annotated[str, BeforeValidator(as_text)]


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


class Between(Frozen):
    """Values of a label or column: each of `against` (one or a list) is compared with `baseline`."""

    label: str
    baseline: Text
    against: Annotated[tuple[Text, ...], BeforeValidator(_listed), Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({self.baseline, *self.against}) != 1 + len(self.against):
            raise ValueError("baseline and against must not repeat a value")
        return self


class MetricPair(Frozen):
    """Two metrics of the same images."""

    baseline: str
    against: str


@dataclass(frozen=True)
class Contrast:
    """One comparison: the row's values; what is compared with what; the metric (of `against`).

    published: the paper's difference, NaN where it has none.
    """

    row: Row
    baseline: str
    against: str
    metric: str
    result: Comparison
    published: float = math.nan

    @property
    def published_sign(self) -> str:
        """The sign of the paper's difference: `higher`, `lower`, `same`, or nothing where it has none."""
        if math.isnan(self.published):
            return ""
        return "higher" if self.published > 0 else "lower" if self.published < 0 else "same"


@PRESENTATIONS.register("contrast")
class ContrastTable(Presentation):
    """Comparisons of images: one for each combination of `rows`, of each value that is named against a baseline.

    What is compared is named by exactly one key. `between`: images whose label or column has one value with those
    that have another, in each of `values` (metrics); paired by the labels or columns `pair_by`, where there are any,
    after averaging what has the same ones. Rows that lack one of two values, as of a study that was computed in part,
    are left out; the caption counts them. `metrics` (one or a list): two metrics of the same images, paired by
    image. `halves`: images by a numeric column, such as `detail`: those above its median with those below (of an odd
    number, the middle one is above).

    The unit is the image, in the restart that the objective chose: attacks on the same image (trials, settings)
    that fall into one sample are averaged first, because they are not independent.

    `published` names a table of the paper whose difference between the same two values stands beside ours; its
    columns are named by `between.label`, and `published_as` is as of a table.

    Writes `<name>_contrast.csv` and `<name>_contrast.tex`, one line per comparison.
    """

    stage = "tables"
    endings = ("_contrast.csv", "_contrast.tex")

    kind: Literal["contrast"] = "contrast"
    rows: tuple[str, ...] = ()
    values: tuple[str, ...] = Field(("lpips",), min_length=1)
    between: Between | None = None
    metrics: Annotated[tuple[MetricPair, ...], BeforeValidator(_listed)] = ()
    halves: str | None = None
    pair_by: tuple[str, ...] = ()
    published: str | None = None
    published_as: Mapping[str, str] = {}
    wide: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if [self.between is not None, bool(self.metrics), self.halves is not None].count(True) != 1:
            raise ValueError("needs exactly one of between, metrics, halves")
        if self.metrics and "values" in self.model_fields_set:
            raise ValueError("metrics names what is compared: values must be absent")
        if self.pair_by and self.between is None:
            raise ValueError("pair_by needs between")
        if self.published and self.between is None:
            raise ValueError("published needs between")
        if self.published_as and not self.published:
            raise ValueError("published_as needs published")
        used = self.keys
        if len(set(used)) != len(used) or len(set(self.values)) != len(self.values):
            raise ValueError("rows, between.label, pair_by and values must not repeat a name")
        return self

    @property
    def keys(self) -> list[str]:
        """Row labels, the label that is compared, and those that pair."""
        return [*self.rows, *([self.between.label] if self.between else []), *self.pair_by]

    @property
    def paired(self) -> bool:
        """Whether values are compared in pairs."""
        return bool(self.metrics or self.pair_by)

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        self.samples(experiment, data)

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Both files; raises UserError as `contrasts`."""
        samples, left_out = self.samples(experiment, data)
        found = self._contrasts(samples)
        return {
            "_contrast.csv": self._csv(found).encode(),
            "_contrast.tex": self._latex(experiment, data, found, left_out).encode(),
        }

    def contrasts(self, experiment: Experiment, data: StudyData) -> list[Contrast]:
        """The comparisons in reading order. Raises UserError as `samples`."""
        return self._contrasts(self.samples(experiment, data)[0])

    def samples(self, experiment: Experiment, data: StudyData) -> tuple[list[Compared], int]:
        """What is compared, in reading order, and how many comparisons lack a side and are left out.

        Raises UserError for an unknown column, a cell without results, a value that no row has beside the baseline, and
        where no image has a partner. An image whose partner the study does not attack is left out: `n` says of how many
        a comparison is.
        """
        metrics = [name for pair in self.metrics for name in (pair.baseline, pair.against)] or list(self.values)
        values = [*dict.fromkeys([*metrics, *([self.halves] if self.halves else [])])]
        table = image_table(data.results, experiment, self.keys, values)
        groups = table.groupby(list(self.rows), sort=False) if self.rows else [((), table)]
        found: list[Compared] = []
        lacks: dict[str, list[str]] = {}
        for row, images in groups:
            named = ", ".join(f"{key} '{value}'" for key, value in zip(self.rows, row, strict=True))
            where = f"experiment '{experiment.name}'" + (f", {named}" if named else "")
            lacking = self._lacking(images)
            for against, what in lacking.items():
                lacks.setdefault(against, []).append(f"{where}: {what}")
            found += [((row, *named), both) for named, both in self._of_row(images, where, lacking)]
        compared = {against for (_, _, against, _), _ in found}
        for against, reasons in lacks.items():
            if against not in compared:
                raise UserError(reasons[0])
        return found, sum(map(len, lacks.values()))

    def _lacking(self, images: pd.DataFrame) -> dict[str, str]:
        """Which values of `between.against` a row cannot compare, and why: they, or the baseline, are not there."""
        if not self.between:
            return {}
        between = self.between
        texts = images[between.label].map(as_text)
        has = list(dict.fromkeys(texts))
        pairs = {value: (between.baseline, value) for value in between.against}
        absent = {value: [side for side in pair if side not in has] for value, pair in pairs.items()}
        what = f"no image has {between.label} '{{}}'; they have: {', '.join(has)}"
        return {value: what.format(sides[0]) for value, sides in absent.items() if sides}

    def _contrasts(self, samples: list[Compared]) -> list[Contrast]:
        compare = compare_pairs if self.paired else compare_groups
        return self._beside_paper([Contrast(*named, compare(*both)) for named, both in samples])

    def _beside_paper(self, found: list[Contrast]) -> list[Contrast]:
        """The comparisons with the paper's differences, where a published table is named."""
        if not self.published:
            return found
        assert self.between
        label = self.between.label
        paper = Published(self.published, label, self.published_as)

        def value(entry: Contrast, side: str) -> float:
            row = dict(zip(self.rows, entry.row, strict=True))
            known = paper.find({**row, label: side}, entry.metric)
            return math.nan if known is None else known

        return [replace(entry, published=value(entry, entry.against) - value(entry, entry.baseline)) for entry in found]

    def _of_row(
        self, images: pd.DataFrame, where: str, lacking: Collection[str]
    ) -> Iterator[tuple[tuple[str, str, str], Sides]]:
        if self.between:
            yield from self._between(self.between, images, where, lacking)
            return
        units = images.groupby(UNIT, sort=False).mean(numeric_only=True)
        for pair in self.metrics:
            yield (pair.baseline, pair.against, pair.against), (units[pair.baseline], units[pair.against])
        if self.halves:
            if len(units) < 2:
                raise UserError(f"{where}: halves by '{self.halves}' need two images (found {len(units)})")
            units = units.sort_values(self.halves, kind="stable")
            middle = len(units) // 2
            for metric in self.values:
                yield (LOWER, UPPER, metric), (units[metric][:middle], units[metric][middle:])

    def _between(
        self, between: Between, images: pd.DataFrame, where: str, lacking: Collection[str]
    ) -> Iterator[tuple[tuple[str, str, str], Sides]]:
        texts = images[between.label].map(as_text)
        keys = list(self.pair_by) or [UNIT]
        sides = {value: own.groupby(keys, sort=False)[list(self.values)].mean() for value, own in images.groupby(texts)}
        for against in (value for value in between.against if value not in lacking):
            baseline, second = sides[between.baseline], sides[against]
            if self.pair_by:
                both = baseline.index.intersection(second.index, sort=False)
                if both.empty:
                    pair = baseline.index[0] if isinstance(baseline.index[0], tuple) else (baseline.index[0],)
                    named = ", ".join(f"{key} '{value}'" for key, value in zip(keys, pair, strict=True))
                    raise UserError(f"{where}: pair {named} has no image with {between.label} '{against}', nor has any")
                baseline, second = baseline.loc[both], second.loc[both]
            for metric in self.values:
                yield (between.baseline, against, metric), (baseline[metric], second[metric])

    def _csv(self, found: list[Contrast]) -> str:
        counts = ["n"] if self.paired else ["n_baseline", "n_against"]
        means = ["baseline_mean", "against_mean", "difference", "low", "high"]
        beside = ["published_difference", "published_sign"] if self.published else []
        heading = [*self.rows, "baseline", "against", "metric", *counts, *means, "p", "test", "sign", *beside]
        rows = []
        for entry in found:
            result = entry.result
            n = [result.count_baseline, result.count_against][: len(counts)]
            numbers = [result.baseline, result.against, result.difference, result.low, result.high]
            sides = [*entry.row, entry.baseline, entry.against, entry.metric]
            paper = [fixed(entry.published), entry.published_sign][: len(beside)]
            tested = [f"{result.p:.6g}", result.test, result.sign]
            rows.append([*sides, *n, *map(fixed, numbers), *tested, *paper])
        return csv_text([heading, *rows])

    def _latex(self, experiment: Experiment, data: StudyData, found: list[Contrast], left_out: int) -> str:
        """The table as a LaTeX environment."""
        names_metric = not self.metrics and (len(self.values) > 1 or not self.rows)
        titles = [*map(self.heading, self.rows), *(["Metric"] if names_metric else []), self._compared()]
        numbers = ["$n$", "Baseline", "Against", "Difference", "95 % interval", "$p$", "Against is"]
        numbers += ["Paper", "Paper's is"] if self.published else []
        heading = [markup.line([markup.escape(title) for title in [*titles, *numbers]])]
        body: list[str] = []
        above: list[str] = []
        for entry in found:
            labels = [*map(self.shown, entry.row)]
            labels += [self.quantity(entry.metric).title] if names_metric else []
            same = markup.same(labels, above)
            above = labels
            texts = [*([""] * same), *labels[same:], self._pair(entry), *self._numbers(entry)]
            body.append(markup.line([markup.escape(text) for text in texts]))
        name = f"{data.study}-{self.stem(experiment.name)}_contrast"
        caption = self._caption(experiment, data, found, left_out)
        return markup.frame(body, heading, len(titles), len(numbers), caption, name, self.wide)

    def _compared(self) -> str:
        if self.between:
            return self.heading(self.between.label)
        return self.quantity(self.halves).name if self.halves else "Metric"

    def _pair(self, entry: Contrast) -> str:
        sides = (entry.baseline, entry.against)
        first, second = (self.quantity(side).name if self.metrics else self.shown(side) for side in sides)
        return rf"{first} $\to$ {second}"

    def _numbers(self, entry: Contrast) -> list[str]:
        result = entry.result
        shape = self.quantity(entry.metric)
        n = f"{result.count_baseline}" if self.paired else f"{result.count_baseline}, {result.count_against}"
        bounds = [_signed(shape.text(bound)) for bound in (result.low, result.high)]
        return [
            n,
            shape.text(result.baseline),
            shape.text(result.against),
            _signed(shape.text(result.difference)),
            "--" if math.isnan(result.low) else f"{bounds[0]} to {bounds[1]}",
            markup.p_latex(result.p),
            result.sign,
            *self._paper(entry),
        ]

    def _paper(self, entry: Contrast) -> list[str]:
        if not self.published:
            return []
        none = math.isnan(entry.published)
        return [
            "--" if none else _signed(self.quantity(entry.metric).text(entry.published)),
            entry.published_sign or "--",
        ]

    def _caption(self, experiment: Experiment, data: StudyData, found: list[Contrast], left_out: int) -> str:
        if self.metrics:
            unit = "Two metrics of the same images"
        elif self.pair_by:
            unit = f"Images in pairs by {', '.join(map(self.heading, self.pair_by))}"
        elif self.halves:
            name = self.quantity(self.halves).name
            unit = f"Images below the median of {name} (baseline) and above"
        else:
            unit = "Independent groups of images"
        compared = list(dict.fromkeys(entry.metric for entry in found))
        names = "" if self.metrics else ": " + ", ".join(self.quantity(metric).title for metric in compared)
        tests = ", ".join(dict.fromkeys(_TESTS[entry.result.test] for entry in found))
        many = f", not corrected for {len(found)} comparisons" if len(found) > 1 else ""
        sentences = [
            f"{unit}{names}; means over images, baseline $\\to$ against.",
            "Interval of the difference: percentile bootstrap; higher or lower: it excludes 0.",
            f"$p$: two-sided {tests}{many}.",
            f"Left out because one side of them is missing: {left_out} comparisons." if left_out else "",
            divergence.counted(data.results, experiment),
        ]
        return markup.caption_latex(titled(experiment, data.results), sentences, data.study)


def _signed(text: str) -> str:
    """A number with its sign; a hyphen would be too short for a minus."""
    bare = text.removeprefix("-")
    if not bare.strip("0."):
        return bare
    return f"$-${bare}" if text != bare else f"$+${bare}"
