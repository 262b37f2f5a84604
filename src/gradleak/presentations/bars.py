"""The presentation `bars`: a metric for each value of a factor, shaded by position, a panel per model (Fig. 9)."""

from typing import TYPE_CHECKING, Literal

import pandas as pd
from pydantic import PositiveInt

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table, ordered, summarise
from gradleak.analysis.text import as_text
from gradleak.presentations import divergence, markup, style
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BASELINE = "#555555"


@PRESENTATIONS.register("bars")
class Bars(Presentation):
    """Bars: mean of `y` over trials for each `x`, every trial a point, side by side for each of `panels`, as many in a
    row as `columns` says (default: all).

    baseline: the value of `x` that the others are compared with: grey, and a dotted line at its mean. The others get
    darker from left to right, in the order of the plan (numbers: ascending). note: a label or column printed over the
    bars, such as the number of skip connections. leak_line: value of y below which reconstructions are recognisable.

    Writes `<name>_bars.pdf`, `.png`, `.csv` (the drawn numbers) and `.txt` (caption).
    """

    endings = ("_bars.pdf", "_bars.png", "_bars.csv", "_bars.txt")

    kind: Literal["bars"] = "bars"
    x: str
    y: str = "lpips"
    panels: str | None = None
    columns: PositiveInt | None = None
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

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        cell_table(data.results, experiment, self.keys, [self.y])

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All four files; raises UserError for an unknown column or a cell without results."""
        cells = divergence.marked(cell_table(data.results, experiment, self.keys, [self.y]), data.results, experiment)
        means = summarise(cells, self.keys, [self.y])
        with style.theme():
            files = style.image_files(self.draw(cells, means), "_bars")
        files["_bars.csv"] = markup.points_csv(self.keys, ["value", "std", "low", "high"], means).encode()
        files["_bars.txt"] = markup.caption(
            titled(experiment, data.results),
            [*self._sentences(means), divergence.counted(data.results, experiment)],
            data.study,
        ).encode()
        return files

    def draw(self, cells: pd.DataFrame, means: pd.DataFrame) -> "Figure":
        """The figure; cells as from `cell_table`, means as from `summarise`. Draw inside `style.theme()`."""
        panels = list(dict.fromkeys(cells[self.panels])) if self.panels else [None]
        counts = [means if panel is None else means[means[self.panels] == panel] for panel in panels]
        columns = min(self.columns or len(panels), len(panels))
        rows = -(-len(panels) // columns)
        width = style.WIDTHS[self.width]
        figure = style.new_figure(width, 2.2 * rows)
        ratios = [max(2, *(len(part) for part in counts[column::columns])) for column in range(columns)]
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False, width_ratios=ratios)
        axes, spare = grid.flat[: len(panels)], grid.flat[len(panels) :]
        for place in spare:
            place.remove()
        top = max(float(cells[self.y].max()), 1.15 * (self.leak_line or 0.0))
        for place, panel, part in zip(axes, panels, counts, strict=True):
            own = cells if panel is None else cells[cells[self.panels] == panel]
            self._draw_panel(place, own, part)
            if panel is not None:
                place.set_title(style.wrap(self.shown(panel), width / columns - 0.4, 8))
        axes[0].set_ylim(0, (1.18 if self.note else 1.08) * top or 1.0)
        for place in grid[:, 0]:
            place.set_ylabel(self.ylabel or self.quantity(self.y).name)
        figure.tight_layout(pad=0.4, w_pad=0.8, h_pad=0.8)
        return figure

    def _draw_panel(self, axes: "Axes", cells: pd.DataFrame, means: pd.DataFrame) -> None:
        import seaborn

        values = ordered(cells[self.x])
        others = [value for value in values if as_text(value) != self.baseline]
        shades = dict(zip(others, seaborn.color_palette("Blues", len(others) + 2)[2:], strict=True))
        value_of = dict(zip(means[self.x], means["value"], strict=True))
        for at, value in enumerate(values):
            axes.bar(at, value_of[value], width=0.72, color=shades.get(value, _BASELINE), zorder=2)
            trials = cells[cells[self.x] == value]
            offsets = [0.0] if len(trials) == 1 else [0.4 * (i / (len(trials) - 1) - 0.5) for i in range(len(trials))]
            axes.scatter(
                [at + offset for offset in offsets],
                trials[self.y],
                s=4,
                color="white",
                edgecolors="#222222",
                linewidths=0.4,
                zorder=3,
            )
            if self.note:
                highest = max(float(trials[self.y].max()), value_of[value])
                text = self.shown(trials[self.note].iloc[0])
                axes.annotate(
                    text, (at, highest), (0, 4), textcoords="offset points", ha="center", color="#00795C", weight="bold"
                )
        for value in values:
            if as_text(value) == self.baseline:
                axes.axhline(value_of[value], color=_BASELINE, linestyle=":", linewidth=0.8, zorder=2.5)
        if self.leak_line is not None:
            axes.axhline(self.leak_line, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=2.6)
        axes.set_xticks(range(len(values)), [self.shown(value) for value in values])
        axes.grid(axis="x", visible=False)
        axes.set_xlabel(self.xlabel or self.heading(self.x))
        style.open_axes(axes)

    def _sentences(self, means: pd.DataFrame) -> list[str]:
        name = self.quantity(self.y).name
        return [
            f"Bars: mean {name} of {markup.trials_text(means)}; points: single trials.",
            f"Dotted line and grey bar: {self.heading(self.x)} {self.shown(self.baseline)}." if self.baseline else "",
            f"Over the bars: {self.heading(self.note)}." if self.note else "",
            markup.leak_text(name, self.leak_line),
        ]
