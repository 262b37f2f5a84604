"""The presentation `line`: a quantity over a factor, one line per hue, every trial visible (as Fig. 4)."""

import math
from typing import TYPE_CHECKING, Literal

import pandas as pd
from pydantic import Field

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table, ordered, summarise
from gradleak.presentations import style
from gradleak.presentations.base import PRESENTATIONS, Presentation, PresentationSpec, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPREADS = {
    "trials": "Faint points are single trials, bands reach from the least to the greatest.",
    "interval": "Bands are 95% confidence intervals of the mean (Student's t).",
    "none": "",
}


class LineSpec(PresentationSpec):
    """A line figure: mean of `y` over trials at each `x`, one line per `hue`.

    spread: `trials` (points and a band from least to greatest trial), `interval` (95% interval of the mean)
    or `none`. leak_line: value of y below which reconstructions are recognisable. log_x: base of a
    logarithmic x axis. An x that is not numeric is spaced evenly in the order of the plan.
    """

    kind: Literal["line"] = "line"
    x: str
    y: str = "lpips"
    hue: str | None = None
    leak_line: float | None = None
    log_x: int | None = Field(None, ge=2)
    xlabel: str | None = None
    ylabel: str | None = None
    y_max: float | None = Field(None, gt=0)
    spread: Literal["trials", "interval", "none"] = "trials"
    width: Literal["column", "page"] = "column"

    @property
    def keys(self) -> list[str]:
        """The hue, where there is one, and x."""
        return [self.hue, self.x] if self.hue else [self.x]

    def columns_used(self) -> list[str]:
        """The hue, where there is one, and x."""
        return self.keys


@PRESENTATIONS.register("line")
class Line(Presentation):
    """Writes `<name>.pdf`, `<name>.png`, `<name>.csv` (the plotted numbers) and `<name>.txt` (caption)."""

    Spec = LineSpec
    endings = (".pdf", ".png", ".csv", ".txt")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All four files; raises UserError for an unknown column or a cell without results."""
        assert isinstance(spec, LineSpec)
        cells = cell_table(data.results, experiment, spec.keys, [spec.y])
        points = line_points(spec, cells)
        with style.theme():
            figure = draw(spec, cells, points)
            files = style.image_files(figure)
        files[".csv"] = style.points_csv(spec.keys, ["value", "std", "low", "high", "lower", "upper"], points)
        files[".txt"] = style.caption(experiment, data.study, _sentences(spec, points))
        return files


def line_points(spec: LineSpec, cells: pd.DataFrame) -> pd.DataFrame:
    """The plotted numbers, one row per hue and x: those of `summarise`, and the band's `lower` and `upper`
    (NaN for none).
    """
    points = summarise(cells, spec.keys, [spec.y])
    if spec.spread == "trials":
        return points.assign(lower=points["low"], upper=points["high"])
    if spec.spread == "none":
        return points.assign(lower=math.nan, upper=math.nan)
    from scipy.stats import t

    half = t.ppf(0.975, (points["trials"] - 1).clip(lower=1)) * points["std"] / points["trials"] ** 0.5
    return points.assign(lower=points["value"] - half, upper=points["value"] + half)


def draw(spec: LineSpec, cells: pd.DataFrame, points: pd.DataFrame) -> "Figure":
    """The figure; cells as from `cell_table`, points as from `line_points`. Draw inside `style.theme()`."""
    figure = style.new_figure(style.WIDTHS[spec.width], 2.35)
    axes = figure.add_subplot()
    ticks = ordered(cells[spec.x])
    place = {tick: float(i) for i, tick in enumerate(ticks)}
    numbers = [tick for tick in ticks if isinstance(tick, int | float) and not isinstance(tick, bool)]
    numeric = len(numbers) == len(ticks)
    if numeric:
        place = {tick: float(tick) for tick in numbers}
    hues = list(dict.fromkeys(cells[spec.hue])) if spec.hue else [None]
    for i, hue in enumerate(hues):
        one = points if spec.hue is None else points[points[spec.hue] == hue]
        own = cells if spec.hue is None else cells[cells[spec.hue] == hue]
        _draw_hue(axes, spec, i, "" if hue is None else spec.named(str(spec.hue), hue), own, one, place)
    _draw_axes(axes, spec, ticks, place, numeric, points)
    if spec.leak_line is not None:
        _draw_leak_line(axes, spec.leak_line)
    top = _draw_legend(figure, axes) if spec.hue else 1.0
    for _ in range(2):  # Labels of x change the height, this the marks of y, and their labels the width.
        figure.tight_layout(pad=0.4, rect=(0, 0, 1, top))
    return figure


def _draw_hue(
    axes: "Axes",
    spec: LineSpec,
    i: int,
    name: str,
    cells: pd.DataFrame,
    points: pd.DataFrame,
    place: dict[object, float],
) -> None:
    colour = style.COLOURS[i % len(style.COLOURS)]
    points = points.assign(at=points[spec.x].map(place).astype(float)).sort_values("at")
    if spec.spread == "trials":
        at = cells[spec.x].map(place).astype(float)
        axes.scatter(at, cells[spec.y], s=5, color=colour, alpha=0.3, linewidths=0, zorder=2.5)
    axes.fill_between(points["at"], points["lower"], points["upper"], color=colour, alpha=0.13, linewidth=0, zorder=2)
    axes.plot(
        points["at"],
        points["value"],
        color=colour,
        marker=style.MARKERS[i % len(style.MARKERS)],
        linestyle=style.DASHES[i % len(style.DASHES)],
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=name,
        zorder=3,
    )


def _draw_axes(
    axes: "Axes",
    spec: LineSpec,
    ticks: list[object],
    place: dict[object, float],
    numeric: bool,
    points: pd.DataFrame,
) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter

    if spec.log_x and numeric:
        axes.set_xscale("log", base=spec.log_x)
    shown = [(place[tick], spec.shown(tick)) for tick in ticks]
    if numeric:
        shown = _spaced(axes, shown)
        axes.set_xticks([at for at, _ in shown], [text for _, text in shown])
    else:
        _name_ticks(axes, shown, 0.8 * style.WIDTHS[spec.width] / len(ticks) - 0.04)
    # A value whose label has no room still has its mark.
    axes.xaxis.set_minor_locator(FixedLocator([place[tick] for tick in ticks]))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", visible=False)
    top = float(points[["value", "high", "upper"]].to_numpy(dtype=float, na_value=0.0).max())
    top = max(top, 1.5 * (spec.leak_line or 0.0))
    axes.set_ylim(0, spec.y_max or 1.06 * top or 1.0)
    axes.set_xlabel(spec.xlabel or spec.heading(spec.x))
    axes.set_ylabel(spec.ylabel or quantity(spec.y, spec).name)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _name_ticks(axes: "Axes", ticks: list[tuple[float, str]], room: float) -> None:
    """Label every tick (place, text): in lines of `room` inches, or slanted where a word is wider."""
    wrapped = [style.wrap(text, room, 7) for _, text in ticks]
    if all(style.text_width(line, 7) <= room for text in wrapped for line in text.splitlines()):
        axes.set_xticks([at for at, _ in ticks], wrapped)
    else:
        texts = [text for _, text in ticks]
        axes.set_xticks([at for at, _ in ticks], texts, rotation=40, ha="right", rotation_mode="anchor")


def _spaced(axes: "Axes", ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks (place, text) whose labels have room, first and last before all others; widths are in points."""
    width = 72 * axes.get_window_extent().width / axes.figure.dpi
    kept: dict[float, tuple[float, str]] = {}
    for at, text in [ticks[-1], *ticks[:-1]]:
        centre = width * axes.transAxes.inverted().transform(axes.transData.transform((at, 0.0)))[0]
        if all(abs(centre - other) > 2.1 * (len(text) + len(near)) + 3 for other, (_, near) in kept.items()):
            kept[centre] = (at, text)
    return [kept[centre] for centre in sorted(kept)]


def _draw_leak_line(axes: "Axes", value: float) -> None:
    axes.axhline(value, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=2.2)
    axes.annotate(
        f"recognisable\nbelow {value:g}",
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        color=style.LIMIT,
        fontsize=6.5,
        va="center",
        linespacing=1.0,
    )


def _draw_legend(figure: "Figure", axes: "Axes") -> float:
    """Draw the legend above the axes in as few lines as fit; returns the height left below it (1 is all)."""
    handles, names = axes.get_legend_handles_labels()
    for columns in range(len(names), 0, -1):
        legend = figure.legend(
            handles,
            names,
            loc="upper center",
            ncols=columns,
            frameon=False,
            handlelength=2.2,
            columnspacing=1.2,
            handletextpad=0.5,
            borderaxespad=0.1,
        )
        box = legend.get_window_extent().transformed(figure.transFigure.inverted())
        if box.width <= 1 or columns == 1:
            break
        legend.remove()
    return float(1 - box.height)


def _sentences(spec: LineSpec, points: pd.DataFrame) -> list[str]:
    several = int(points["trials"].max()) > 1
    return [
        f"Lines: mean of {style.trials_text(points)} per point.",
        SPREADS[spec.spread] if several else "",
        style.leak_text(quantity(spec.y, spec).name, spec.leak_line),
    ]
