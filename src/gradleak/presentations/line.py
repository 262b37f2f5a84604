"""The presentation `line`: a quantity over a factor, one line per hue, every trial visible (as Fig. 4)."""

import math
from typing import TYPE_CHECKING, Literal

import pandas as pd
from pydantic import Field

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import DIVERGED, cell_table, ordered, summarise
from gradleak.presentations import divergence, markup, style
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPREADS = {
    "trials": "Faint points are single trials, bands reach from the least to the greatest.",
    "interval": "Bands are 95% confidence intervals of the mean (Student's t).",
    "none": "",
}


@PRESENTATIONS.register("line")
class Line(Presentation):
    """Lines: mean of `y` over trials at each `x`, one line per `hue`.

    spread: `trials` (points and a band from least to greatest trial), `interval` (95% interval of the mean)
    or `none`. leak_line: value of y below which reconstructions are recognisable. log_x: base of a
    logarithmic x axis. An x that is not numeric is spaced evenly in the order of the plan. A marker is hollow where a
    client diverged.

    Writes `<name>.pdf`, `<name>.png`, `<name>.csv` (the drawn numbers) and `<name>.txt` (caption).
    """

    endings = (".pdf", ".png", ".csv", ".txt")

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

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        cell_table(data.results, experiment, self.keys, [self.y])

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All four files; raises UserError for an unknown column or a cell without results."""
        cells = divergence.marked(cell_table(data.results, experiment, self.keys, [self.y]), data.results, experiment)
        points = self.points(cells)
        with style.theme():
            files = style.image_files(self.draw(cells, points))
        numbers = ["value", "std", "low", "high", "lower", "upper"]
        files[".csv"] = markup.points_csv(self.keys, numbers, points).encode()
        files[".txt"] = markup.caption(titled(experiment, data.results), self._sentences(points), data.study).encode()
        return files

    def points(self, cells: pd.DataFrame) -> pd.DataFrame:
        """The drawn numbers, one row per hue and x: those of `summarise`, and the band's `lower` and `upper`
        (NaN for none).
        """
        points = summarise(cells, self.keys, [self.y])
        if self.spread == "trials":
            return points.assign(lower=points["low"], upper=points["high"])
        if self.spread == "none":
            return points.assign(lower=math.nan, upper=math.nan)
        from scipy.stats import t

        half = t.ppf(0.975, (points["trials"] - 1).clip(lower=1)) * points["std"] / points["trials"] ** 0.5
        return points.assign(lower=points["value"] - half, upper=points["value"] + half)

    def draw(self, cells: pd.DataFrame, points: pd.DataFrame) -> "Figure":
        """The figure; cells as from `cell_table`, points as from `points`. Draw inside `style.theme()`."""
        figure = style.new_figure(style.WIDTHS[self.width], 2.35)
        axes = figure.add_subplot()
        ticks = ordered(cells[self.x])
        place = {tick: float(i) for i, tick in enumerate(ticks)}
        numbers = [tick for tick in ticks if isinstance(tick, int | float) and not isinstance(tick, bool)]
        numeric = len(numbers) == len(ticks)
        if numeric:
            place = {tick: float(tick) for tick in numbers}
        hues = list(dict.fromkeys(cells[self.hue])) if self.hue else [None]
        for i, hue in enumerate(hues):
            one = points if self.hue is None else points[points[self.hue] == hue]
            own = cells if self.hue is None else cells[cells[self.hue] == hue]
            self._draw_hue(axes, i, "" if hue is None else self.named(str(self.hue), hue), own, one, place)
        self._draw_axes(axes, ticks, place, numeric, points)
        if self.leak_line is not None:
            style.leak_line(axes, self.leak_line)
        top = 1.0
        if self.hue:
            spacing = {"handlelength": 2.2, "columnspacing": 1.2, "handletextpad": 0.5}
            top = style.legend_above(figure, axes.get_legend_handles_labels()[0], len(hues), **spacing)
        for _ in range(2):  # Labels of x change the height, this the marks of y, and their labels the width.
            figure.tight_layout(pad=0.4, rect=(0, 0, 1, top))
        return figure

    def _draw_hue(
        self,
        axes: "Axes",
        i: int,
        name: str,
        cells: pd.DataFrame,
        points: pd.DataFrame,
        place: dict[object, float],
    ) -> None:
        colour = style.COLOURS[i % len(style.COLOURS)]
        points = points.assign(at=points[self.x].map(place).astype(float)).sort_values("at")
        if self.spread == "trials":
            at = cells[self.x].map(place).astype(float)
            axes.scatter(at, cells[self.y], s=5, color=colour, alpha=0.3, linewidths=0, zorder=2.5)
        axes.fill_between(
            points["at"], points["lower"], points["upper"], color=colour, alpha=0.13, linewidth=0, zorder=2
        )
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
        if DIVERGED in points:
            hollow = points[points[DIVERGED] > 0]
            axes.plot(
                hollow["at"],
                hollow["value"],
                color=colour,
                marker=style.MARKERS[i % len(style.MARKERS)],
                linestyle="",
                markerfacecolor="white",
                markeredgewidth=0.9,
                zorder=3.1,
            )

    def _draw_axes(
        self,
        axes: "Axes",
        ticks: list[object],
        place: dict[object, float],
        numeric: bool,
        points: pd.DataFrame,
    ) -> None:
        from matplotlib.ticker import FixedLocator, NullFormatter

        if self.log_x and numeric:
            axes.set_xscale("log", base=self.log_x)
        shown = [(place[tick], self.shown(tick)) for tick in ticks]
        if numeric:
            shown = style.spaced(axes, shown)
            axes.set_xticks([at for at, _ in shown], [text for _, text in shown])
        else:
            _name_ticks(axes, shown, 0.8 * style.WIDTHS[self.width] / len(ticks) - 0.04)
        # A value whose label has no room still has its mark.
        axes.xaxis.set_minor_locator(FixedLocator([place[tick] for tick in ticks]))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", visible=False)
        top = float(points[["value", "high", "upper"]].to_numpy(dtype=float, na_value=0.0).max())
        top = max(top, 1.5 * (self.leak_line or 0.0))
        axes.set_ylim(0, self.y_max or 1.06 * top or 1.0)
        axes.set_xlabel(self.xlabel or self.heading(self.x))
        axes.set_ylabel(self.ylabel or self.quantity(self.y).name)
        style.open_axes(axes)

    def _sentences(self, points: pd.DataFrame) -> list[str]:
        several = int(points["trials"].max()) > 1
        return [
            f"Lines: mean of {markup.trials_text(points)} per point.",
            SPREADS[self.spread] if several else "",
            divergence.explained("Hollow markers", points.get(DIVERGED, ()), int(points["trials"].max())),
            markup.leak_text(self.quantity(self.y).name, self.leak_line),
        ]


def _name_ticks(axes: "Axes", ticks: list[tuple[float, str]], room: float) -> None:
    """Label every tick (place, text): in lines of `room` inches, or slanted where a word is wider."""
    wrapped = [style.wrap(text, room, 7) for _, text in ticks]
    if all(style.text_width(line, 7) <= room for text in wrapped for line in text.splitlines()):
        axes.set_xticks([at for at, _ in ticks], wrapped)
    else:
        texts = [text for _, text in ticks]
        axes.set_xticks([at for at, _ in ticks], texts, rotation=40, ha="right", rotation_mode="anchor")
