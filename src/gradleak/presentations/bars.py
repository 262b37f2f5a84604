"""The presentation `bars`: a metric for each value of a factor, shaded by position, a panel per model (Fig. 9)."""

from typing import TYPE_CHECKING, Literal

import pandas as pd

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table, ordered, summarise
from gradleak.presentations import style
from gradleak.presentations.base import PRESENTATIONS, Presentation, PresentationSpec, as_text, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BASELINE = "#555555"


class BarsSpec(PresentationSpec):
    """Bars: mean of `y` over trials for each `x`, every trial a point, side by side for each of `panels`.

    baseline: the value of `x` that the others are compared with: grey, and a dotted line at its mean. The others get
    darker from left to right, in the order of the plan (numbers: ascending). note: a label or column printed over the
    bars, such as the number of skip connections. leak_line: value of y below which reconstructions are recognisable.
    """

    kind: Literal["bars"] = "bars"
    x: str
    y: str = "lpips"
    panels: str | None = None
    baseline: str | None = None
    note: str | None = None
    leak_line: float | None = None
    xlabel: str | None = None
    ylabel: str | None = None
    width: Literal["column", "page"] = "column"

    @property
    def keys(self) -> list[str]:
        """The panels, where there are any, x, and the note."""
        return [key for key in (self.panels, self.x, self.note) if key]

    def columns_used(self) -> list[str]:
        """See `keys`."""
        return self.keys


@PRESENTATIONS.register("bars")
class Bars(Presentation):
    """Writes `<name>_bars.pdf`, `.png`, `.csv` (the drawn numbers) and `.txt` (caption)."""

    Spec = BarsSpec
    endings = ("_bars.pdf", "_bars.png", "_bars.csv", "_bars.txt")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All four files; raises UserError for an unknown column or a cell without results."""
        assert isinstance(spec, BarsSpec)
        cells = cell_table(data.results, experiment, spec.keys, [spec.y])
        means = summarise(cells, spec.keys, [spec.y])
        with style.theme():
            figure = draw(spec, cells, means)
            files = style.image_files(figure, "_bars")
        files["_bars.csv"] = style.points_csv(spec.keys, ["value", "std", "low", "high"], means)
        files["_bars.txt"] = style.caption(experiment, data.study, _sentences(spec, means))
        return files


def draw(spec: BarsSpec, cells: pd.DataFrame, means: pd.DataFrame) -> "Figure":
    """The figure; cells as from `cell_table`, means as from `summarise`. Draw inside `style.theme()`."""
    panels = list(dict.fromkeys(cells[spec.panels])) if spec.panels else [None]
    counts = [means if panel is None else means[means[spec.panels] == panel] for panel in panels]
    figure = style.new_figure(style.WIDTHS[spec.width], 2.2)
    axes = figure.subplots(
        1, len(panels), sharey=True, squeeze=False, width_ratios=[max(2, len(part)) for part in counts]
    )[0]
    top = max(float(cells[spec.y].max()), 1.15 * (spec.leak_line or 0.0))
    for place, panel, part in zip(axes, panels, counts, strict=True):
        own = cells if panel is None else cells[cells[spec.panels] == panel]
        _draw_panel(place, spec, own, part, top)
        if panel is not None:
            place.set_title(spec.shown(panel))
    axes[0].set_ylim(0, (1.18 if spec.note else 1.08) * top or 1.0)
    axes[0].set_ylabel(spec.ylabel or quantity(spec.y, spec).name)
    figure.tight_layout(pad=0.4, w_pad=0.8)
    return figure


def _draw_panel(axes: "Axes", spec: BarsSpec, cells: pd.DataFrame, means: pd.DataFrame, top: float) -> None:
    import seaborn

    values = ordered(cells[spec.x])
    others = [value for value in values if as_text(value) != spec.baseline]
    shades = dict(zip(others, seaborn.color_palette("Blues", len(others) + 2)[2:], strict=True))
    value_of = dict(zip(means[spec.x], means["value"], strict=True))
    for at, value in enumerate(values):
        axes.bar(at, value_of[value], width=0.72, color=shades.get(value, _BASELINE), zorder=2)
        trials = cells[cells[spec.x] == value]
        offsets = [0.0] if len(trials) == 1 else [0.4 * (i / (len(trials) - 1) - 0.5) for i in range(len(trials))]
        axes.scatter(
            [at + offset for offset in offsets],
            trials[spec.y],
            s=4,
            color="white",
            edgecolors="#222222",
            linewidths=0.4,
            zorder=3,
        )
        if spec.note:
            highest = max(float(trials[spec.y].max()), value_of[value])
            text = spec.shown(trials[spec.note].iloc[0])
            axes.annotate(
                text, (at, highest), (0, 4), textcoords="offset points", ha="center", color="#00795C", weight="bold"
            )
    for value in values:
        if as_text(value) == spec.baseline:
            axes.axhline(value_of[value], color=_BASELINE, linestyle=":", linewidth=0.8, zorder=2.5)
    if spec.leak_line is not None:
        axes.axhline(spec.leak_line, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=2.6)
    axes.set_xticks(range(len(values)), [spec.shown(value) for value in values])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(spec.xlabel or spec.heading(spec.x))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _sentences(spec: BarsSpec, means: pd.DataFrame) -> list[str]:
    name = quantity(spec.y, spec).name
    return [
        f"Bars: mean {name} of {style.trials_text(means)}; points: single trials.",
        f"Dotted line and grey bar: {spec.heading(spec.x)} {spec.shown(spec.baseline)}." if spec.baseline else "",
        f"Over the bars: {spec.heading(spec.note)}." if spec.note else "",
        style.leak_text(name, spec.leak_line),
    ]
