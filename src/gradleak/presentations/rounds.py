"""The presentation `rounds`: accuracy, reconstruction quality and IGSA over federated rounds, by model (as Fig. 7)."""

import math
from typing import TYPE_CHECKING, Literal

import pandas as pd
from pydantic import Field

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table
from gradleak.analysis.text import csv_text
from gradleak.presentations import divergence, markup, style
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHTS = 1.75, 1.32  # of a row of panels in inches: alone, and one of several

_GREY = "#E2E2E2"


@PRESENTATIONS.register("rounds")
class Rounds(Presentation):
    """A grid of panels, one per value of `panel`, over windows of `window` rounds.

    A window's value is the mean over its rounds of the means over trials. `accuracy` (a fraction) and `smoothness` are
    on the left axis, the latter as its place between least (0) and greatest window (1) of the panel, on a logarithmic
    scale with `log`; `quality` is on the right one, the same in all panels.

    High risk: windows whose `quality` is at least `risk`; without `risk`, at least midway between the panel's least and
    greatest window. Quality is one that is higher where reconstructions are closer.

    Writes `<name>.pdf`, `<name>.png`, `<name>.csv` (the drawn numbers) and `<name>.txt` (caption).
    """

    endings = (".pdf", ".png", ".csv", ".txt")

    kind: Literal["rounds"] = "rounds"
    panel: str = "model_name"
    x: str = "model_round"
    window: int = Field(5, ge=1)
    accuracy: str = "model_accuracy"
    quality: str = "psnr"
    smoothness: str = "igsa"
    log: bool = False
    risk: float | None = None
    columns: int = Field(3, ge=1, le=5)
    xlabel: str = "Federated round"

    @property
    def values(self) -> list[str]:
        """The three columns that are drawn."""
        return [self.accuracy, self.quality, self.smoothness]

    @property
    def keys(self) -> list[str]:
        """Panel and x."""
        return [self.panel, self.x]

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        cell_table(data.results, experiment, self.keys, self.values)

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All four files; raises UserError for an unknown column or a cell without results."""
        points = self.windows(cell_table(data.results, experiment, self.keys, self.values))
        with style.theme():
            files = style.image_files(self.draw(points))
        files[".csv"] = self._csv(points).encode()
        files[".txt"] = markup.caption(
            titled(experiment, data.results),
            [*self._sentences(), divergence.counted(data.results, experiment)],
            data.study,
        ).encode()
        return files

    def windows(self, cells: pd.DataFrame) -> pd.DataFrame:
        """The plotted numbers, one row per panel and window; cells as from `cell_table`.

        Columns: `panel`, `first` and `last` (rounds), `rounds`, `trials` (cells), the three values, `normalised`
        smoothness in [0, 1] (0.5 where all windows of a panel have the same), `threshold` of quality and `high_risk`.
        Window k holds the rounds k w to (k + 1) w - 1.
        """
        frames = []
        for panel, own in cells.groupby(self.panel, sort=False):
            rounds = own.groupby(self.x)[self.values].mean()
            number = pd.Series(rounds.index.astype(int), index=rounds.index)
            groups = rounds.groupby(number // self.window)
            found = groups.mean()
            found.insert(0, "panel", [panel] * len(found))
            found.insert(1, "first", number.groupby(number // self.window).min())
            found.insert(2, "last", number.groupby(number // self.window).max())
            found.insert(3, "rounds", groups.size())
            found.insert(4, "trials", own.groupby(own[self.x].astype(int) // self.window).size())
            found["normalised"] = _normalised(found[self.smoothness], self.log)
            quality = found[self.quality]
            found["threshold"] = (quality.min() + quality.max()) / 2 if self.risk is None else self.risk
            found["high_risk"] = quality >= found["threshold"]
            frames.append(found)
        return pd.concat(frames, ignore_index=True)

    def draw(self, points: pd.DataFrame) -> "Figure":
        """The figure; points as from `windows`. Draw inside `style.theme()`."""
        panels = list(dict.fromkeys(points["panel"]))
        columns = min(self.columns, len(panels))
        rows = -(-len(panels) // columns)
        figure = style.new_figure(style.WIDTHS["page" if columns > 1 else "column"], rows * _HEIGHTS[rows > 1] + 0.55)
        quality = points[self.quality]
        margin = 0.08 * (quality.max() - quality.min()) or 1.0
        limits = (float(quality.min() - margin), float(quality.max() + margin))
        handles: list[Artist] = []
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, i + 1)
            right = axes.twinx()
            handles = self._draw_panel(axes, right, points[points["panel"] == panel])
            axes.set_title(self.named(self.panel, panel), pad=3)
            right.set_ylim(*limits)
            if i % columns:
                axes.tick_params(labelleft=False)
            if (i + 1) % columns and i + 1 < len(panels):
                right.tick_params(labelright=False)
            if i + columns < len(panels):
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel(self.xlabel)
        figure.text(0.0, 0.5, f"Test accuracy; {self._left()}", rotation=90, ha="left", va="center", fontsize=8)
        figure.text(1.0, 0.5, self.quantity(self.quality).name, rotation=90, ha="right", va="center", fontsize=8)
        spacing = {"handlelength": 2.2, "columnspacing": 1.4, "handletextpad": 0.5}
        top = style.legend_above(figure, handles, len(handles) if columns > 1 else 2, **spacing)
        edge = 0.18 / figure.get_figwidth()
        figure.tight_layout(pad=0.3, w_pad=0.8, h_pad=0.5, rect=(edge, 0, 1 - edge, top))
        return figure

    def _draw_panel(self, axes: "Axes", right: "Axes", points: pd.DataFrame) -> list["Artist"]:
        """Draw one panel; returns the legend's entries."""
        from matplotlib.patches import Patch
        from matplotlib.ticker import MaxNLocator

        for point in points[points["high_risk"]].to_dict("records"):
            axes.axvspan(point["first"] - 0.5, point["last"] + 0.5, color=_GREY, linewidth=0, zorder=0)
        at = (points["first"] + points["last"]) / 2
        drawn = [
            (axes, points[self.accuracy], "Test accuracy" if self.accuracy == "model_accuracy" else self.accuracy),
            (right, points[self.quality], self.quantity(self.quality).name),
            (axes, points["normalised"], self._left()),
        ]
        handles: list[Artist] = []
        for i, (own, values, name) in enumerate(drawn):
            handles += own.plot(
                at,
                values,
                color=style.COLOURS[i],
                marker=style.MARKERS[i],
                linestyle=style.DASHES[i],
                markersize=3.2,
                markeredgecolor="white",
                markeredgewidth=0.4,
                label=name,
                zorder=3,
            )
        axes.set_ylim(-0.05, 1.05)
        axes.set_xlim(points["first"].min() - 0.5, points["last"].max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="x", visible=False)
        right.grid(visible=False)
        for one in (axes, right):
            one.spines["top"].set_visible(False)
        return [*handles, Patch(color=_GREY, label="High risk")]

    def _left(self) -> str:
        return f"{self.quantity(self.smoothness).name}, normalised"

    def _csv(self, points: pd.DataFrame) -> str:
        counts, numbers = ["first", "last", "rounds", "trials"], [*self.values, "normalised", "threshold"]
        rows = [
            [
                *(point[key] for key in ("panel", *counts)),
                *(f"{point[key]:.6g}" for key in numbers),
                str(point["high_risk"]).lower(),
            ]
            for point in points.to_dict("records")
        ]
        return csv_text([[self.panel, *counts, *numbers, "high_risk"], *rows])

    def _sentences(self) -> list[str]:
        name = self.quantity(self.quality).name
        smoothness = self.quantity(self.smoothness).name
        mean = "Means over trials" if self.window == 1 else f"Means over trials and over up to {self.window} rounds"
        scale = "the logarithm of " if self.log else ""
        rule = (
            f"{name} is at least midway between the panel's least and greatest mean"
            if self.risk is None
            else f"{name} is at least {self.risk:g}"
        )
        return [
            f"{mean}.",
            f"{smoothness}: {scale}its mean, from the panel's least (0) to its greatest (1).",
            f"Grey, high risk: rounds where {rule}.",
        ]


def _normalised(values: pd.Series, log: bool) -> pd.Series:
    scaled = values.map(math.log) if log and (values > 0).all() else values
    span = scaled.max() - scaled.min()
    return (scaled - scaled.min()) / span if span > 0 else scaled * 0 + 0.5
