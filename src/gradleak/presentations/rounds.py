"""The presentation `rounds`: accuracy, reconstruction quality and IGSA over federated rounds, by model (as Fig. 7)."""

import csv
import io
import math
from typing import TYPE_CHECKING, Literal

import pandas as pd
from pydantic import Field

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table
from gradleak.presentations import style
from gradleak.presentations.base import PRESENTATIONS, Presentation, PresentationSpec, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHTS = 1.75, 1.32  # of a row of panels in inches: alone, and one of several

_GREY = "#E2E2E2"


class RoundsSpec(PresentationSpec):
    """A grid of panels, one per value of `panel`, over windows of `window` rounds.

    A window's value is the mean over its rounds of the means over trials. `accuracy` (a fraction) and `smoothness` are
    on the left axis, the latter as its place between least (0) and greatest window (1) of the panel, on a logarithmic
    scale with `log`; `quality` is on the right one, the same in all panels.

    High risk: windows whose `quality` is at least `risk`; without `risk`, at least midway between the panel's least and
    greatest window. Quality is one that is higher where reconstructions are closer.
    """

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

    def columns_used(self) -> list[str]:
        """Panel and x."""
        return [self.panel, self.x]


@PRESENTATIONS.register("rounds")
class Rounds(Presentation):
    """Writes `<name>.pdf`, `<name>.png`, `<name>.csv` (the plotted numbers) and `<name>.txt` (caption)."""

    Spec = RoundsSpec
    endings = (".pdf", ".png", ".csv", ".txt")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All four files; raises UserError for an unknown column or a cell without results."""
        assert isinstance(spec, RoundsSpec)
        points = windows(spec, cell_table(data.results, experiment, spec.columns_used(), spec.values))
        with style.theme():
            figure = draw(spec, points)
            files = style.image_files(figure)
        files[".csv"] = _csv(spec, points).encode()
        files[".txt"] = style.caption(experiment, data.study, _sentences(spec))
        return files


def windows(spec: RoundsSpec, cells: pd.DataFrame) -> pd.DataFrame:
    """The plotted numbers, one row per panel and window; cells as from `cell_table`.

    Columns: `panel`, `first` and `last` (rounds), `rounds`, `trials` (cells), the three values, `normalised`
    smoothness in [0, 1] (0.5 where all windows of a panel have the same), `threshold` of quality and `high_risk`.
    Window k holds the rounds k w to (k + 1) w - 1.
    """
    frames = []
    for panel, own in cells.groupby(spec.panel, sort=False):
        rounds = own.groupby(spec.x)[spec.values].mean()
        number = pd.Series(rounds.index.astype(int), index=rounds.index)
        groups = rounds.groupby(number // spec.window)
        found = groups.mean()
        found.insert(0, "panel", [panel] * len(found))
        found.insert(1, "first", number.groupby(number // spec.window).min())
        found.insert(2, "last", number.groupby(number // spec.window).max())
        found.insert(3, "rounds", groups.size())
        found.insert(4, "trials", own.groupby(own[spec.x].astype(int) // spec.window).size())
        found["normalised"] = _normalised(found[spec.smoothness], spec.log)
        quality = found[spec.quality]
        found["threshold"] = (quality.min() + quality.max()) / 2 if spec.risk is None else spec.risk
        found["high_risk"] = quality >= found["threshold"]
        frames.append(found)
    return pd.concat(frames, ignore_index=True)


def _normalised(values: pd.Series, log: bool) -> pd.Series:
    scaled = values.map(math.log) if log and (values > 0).all() else values
    span = scaled.max() - scaled.min()
    return (scaled - scaled.min()) / span if span > 0 else scaled * 0 + 0.5


def draw(spec: RoundsSpec, points: pd.DataFrame) -> "Figure":
    """The figure; points as from `windows`. Draw inside `style.theme()`."""
    panels = list(dict.fromkeys(points["panel"]))
    columns = min(spec.columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = style.new_figure(style.WIDTHS["page" if columns > 1 else "column"], rows * _HEIGHTS[rows > 1] + 0.55)
    quality = points[spec.quality]
    margin = 0.08 * (quality.max() - quality.min()) or 1.0
    limits = (float(quality.min() - margin), float(quality.max() + margin))
    handles: list[object] = []
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        right = axes.twinx()
        handles = _draw_panel(axes, right, spec, points[points["panel"] == panel])
        axes.set_title(spec.named(spec.panel, panel), pad=3)
        right.set_ylim(*limits)
        if i % columns:
            axes.tick_params(labelleft=False)
        if (i + 1) % columns and i + 1 < len(panels):
            right.tick_params(labelright=False)
        if i + columns < len(panels):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel(spec.xlabel)
    figure.text(0.0, 0.5, f"Test accuracy; {_left(spec)}", rotation=90, ha="left", va="center", fontsize=8)
    figure.text(1.0, 0.5, quantity(spec.quality, spec).name, rotation=90, ha="right", va="center", fontsize=8)
    legend = figure.legend(
        handles=handles,
        loc="upper center",
        ncols=len(handles) if columns > 1 else 2,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.4,
        handletextpad=0.5,
        borderaxespad=0.1,
    )
    box = legend.get_window_extent().transformed(figure.transFigure.inverted())
    edge = 0.18 / figure.get_figwidth()
    figure.tight_layout(pad=0.3, w_pad=0.8, h_pad=0.5, rect=(edge, 0, 1 - edge, float(1 - box.height)))
    return figure


def _draw_panel(axes: "Axes", right: "Axes", spec: RoundsSpec, points: pd.DataFrame) -> list[object]:
    """Draw one panel; returns the legend's entries."""
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    for point in points[points["high_risk"]].to_dict("records"):
        axes.axvspan(point["first"] - 0.5, point["last"] + 0.5, color=_GREY, linewidth=0, zorder=0)
    at = (points["first"] + points["last"]) / 2
    drawn = [
        (axes, points[spec.accuracy], "Test accuracy" if spec.accuracy == "model_accuracy" else spec.accuracy),
        (right, points[spec.quality], quantity(spec.quality, spec).name),
        (axes, points["normalised"], _left(spec)),
    ]
    handles: list[object] = []
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


def _left(spec: RoundsSpec) -> str:
    return f"{quantity(spec.smoothness, spec).name}, normalised"


def _csv(spec: RoundsSpec, points: pd.DataFrame) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [*spec.values, "normalised", "threshold"]
    writer.writerow([spec.panel, "first", "last", "rounds", "trials", *numbers, "high_risk"])
    for point in points.to_dict("records"):
        fixed = [f"{point[key]:.6g}" for key in numbers]
        counts = [point[key] for key in ("panel", "first", "last", "rounds", "trials")]
        writer.writerow([*counts, *fixed, str(point["high_risk"]).lower()])
    return text.getvalue()


def _sentences(spec: RoundsSpec) -> list[str]:
    name = quantity(spec.quality, spec).name
    smoothness = quantity(spec.smoothness, spec).name
    mean = "Means over trials" if spec.window == 1 else f"Means over trials and over up to {spec.window} rounds"
    scale = "the logarithm of " if spec.log else ""
    rule = (
        f"{name} is at least midway between the panel's least and greatest mean"
        if spec.risk is None
        else f"{name} is at least {spec.risk:g}"
    )
    return [
        f"{mean}.",
        f"{smoothness}: {scale}its mean, from the panel's least (0) to its greatest (1).",
        f"Grey, high risk: rounds where {rule}.",
    ]
