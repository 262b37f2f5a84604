"""The presentation `tradeoff`: utility over leakage for every strength of every technique (Figure 11)."""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table, unknown_column
from gradleak.analysis.tradeoff import best_of_each, pareto, tradeoff_points
from gradleak.metrics.rates import TAU_LPIPS
from gradleak.presentations import markup, style
from gradleak.presentations.base import PRESENTATIONS, Presentation, PresentationSpec, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPSILON = "epsilon"

_NONE = "none"


def epsilons(results: pd.DataFrame, cells: pd.DataFrame, experiment: Experiment) -> pd.Series:
    """The epsilon of every cell's post-processing, NaN where it has none; raises UserError where there is no column."""
    if EPSILON not in results.columns:
        raise unknown_column(results, experiment, EPSILON)
    return cells["cell_id"].map(results.groupby("cell_id")[EPSILON].first()).astype(float)


def tradeoff_csv(points: pd.DataFrame) -> bytes:
    """All columns of the points; an epsilon that there is not is `none`."""
    shown = points.assign(**{EPSILON: [_NONE if math.isnan(value) else f"{value:.6g}" for value in points[EPSILON]]})
    return shown.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def tradeoff_tex(spec: "TradeoffSpec", points: pd.DataFrame, caption: str, name: str) -> str:
    """A table over pages, a line per point in the order of the plan; best points are bold."""
    measured = [spec.utility, spec.privacy]
    labels = [*spec.point, *spec.chooses, spec.round]
    numbers = [*measured, *([spec.size] if spec.size else []), EPSILON]
    titles = [spec.heading(key) for key in labels] + [quantity(key, spec).name for key in measured]
    titles += [spec.heading(spec.size)] if spec.size else []
    heading = markup.line([markup.escape(title) for title in titles] + [r"$\varepsilon$"])
    body = []
    for point in points.to_dict("records"):
        texts = [spec.shown(point[key]) for key in labels]
        texts += [quantity(key, spec).text(point[key]) for key in measured]
        texts += [f"{point[spec.size]:,.0f}"] if spec.size else []
        texts += [_NONE if math.isnan(point[EPSILON]) else f"{point[EPSILON]:.3g}"]
        cells = [markup.escape(text) for text in texts]
        body.append(markup.line([rf"\textbf{{{text}}}" for text in cells] if point["best"] else cells))
    return markup.long_frame(body, [heading], "l" * len(labels) + "r" * len(numbers), markup.escape(caption), name)


_ACCURACY = "#1F4E9C"

_FRONT = "#9A9A9A"

_BASELINE = "#111111"

_AREAS = 9.0, 90.0  # of the smallest and the largest update, in square points

# Where a label may be, in points from its marker; the first with enough room is taken.
_LABEL_OFFSETS = (4.0, 4.0), (4.0, -9.0), (-4.0, 4.0), (-4.0, -9.0)


class TradeoffSpec(PresentationSpec):
    """A grid of panels, one per value of `panels`: utility over privacy, a point per technique and strength.

    Privacy is against the adversary's best choice of attack round and of the columns `chooses`; utility is that of the
    latest round (see `tradeoff_points`). leak_line: value of `privacy` below which reconstructions are recognisable
    (red). drop: share of the baseline technique's utility that may be lost (blue line at 1 - drop of it). The best
    point of each technique is large, the others are faint; a grey line joins those that no other point beats in both.
    `size` names a column of bytes per update: the area of a point grows with its logarithm.
    """

    kind: Literal["tradeoff"] = "tradeoff"
    panels: str
    technique: str = "technique"
    strength: str = "strength"
    baseline: str = "None"
    chooses: tuple[str, ...] = ("attack",)
    round: str = "model_round"
    privacy: str = "lpips"
    utility: str = "model_accuracy"
    size: str | None = None
    leak_line: float = TAU_LPIPS
    drop: float = Field(0.3, gt=0, lt=1)
    columns: int = Field(2, ge=1, le=4)

    @property
    def point(self) -> list[str]:
        """What tells points apart."""
        return [self.panels, self.technique, self.strength]

    def columns_used(self) -> list[str]:
        """The point's columns, what the adversary chooses, and the round."""
        return [*self.point, *self.chooses, self.round]


@PRESENTATIONS.register("tradeoff")
class Tradeoff(Presentation):
    """Writes `<name>_tradeoff.pdf`, `.png`, `.txt` (caption), and every point as `.csv` and `.tex`."""

    Spec = TradeoffSpec
    endings = ("_tradeoff.pdf", "_tradeoff.png", "_tradeoff.csv", "_tradeoff.tex", "_tradeoff.txt")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All five files; raises UserError for an unknown column or a cell without results."""
        assert isinstance(spec, TradeoffSpec)
        values = [spec.privacy, spec.utility, *([spec.size] if spec.size else [])]
        cells = cell_table(data.results, experiment, spec.columns_used(), values)
        points = judged(spec, cells.assign(**{EPSILON: epsilons(data.results, cells, experiment)}))
        with style.theme():
            files = style.image_files(draw(spec, points), "_tradeoff")
        files["_tradeoff.csv"] = tradeoff_csv(points)
        stem = f"{experiment.name}_{spec.suffix}" if spec.suffix else experiment.name
        caption = f"{experiment.title.rstrip('.')}. {_table_sentences()}"
        files["_tradeoff.tex"] = tradeoff_tex(spec, points, caption, f"{data.study}-{stem}_tradeoff").encode()
        files["_tradeoff.txt"] = style.caption(experiment, data.study, _sentences(spec, points))
        return files


def judged(spec: TradeoffSpec, cells: pd.DataFrame) -> pd.DataFrame:
    """The points with what the figure says of them; cells as from `cell_table`.

    Columns beside those of `tradeoff_points`: `kept` (utility as a share of the baseline's), `defends` (privacy from
    the leak line up), `useful` (kept from 1 - drop up), `best` of its technique, `front` (beaten by no other point in
    privacy and utility) and, with `size`, `front_with_size` (nor in size as the third).
    """
    points = tradeoff_points(cells, spec.point, spec.chooses, spec.round, spec.privacy, spec.utility)
    frames = []
    for _, own in points.groupby(spec.panels, sort=False):
        baseline = own[own[spec.technique] == spec.baseline][spec.utility]
        own = own.assign(kept=own[spec.utility] / (baseline.iloc[0] if len(baseline) else math.nan))
        own["defends"] = own[spec.privacy] >= spec.leak_line
        own["useful"] = own["kept"] >= 1 - spec.drop
        own["best"] = best_of_each(own, [spec.technique], spec.privacy, spec.utility, spec.leak_line)
        own["front"] = pareto(own, [spec.privacy, spec.utility])
        if spec.size:
            own["front_with_size"] = pareto(own, [spec.privacy, spec.utility], [spec.size])
        frames.append(own)
    found = pd.concat(frames, ignore_index=True)
    return found[[*spec.point, *(c for c in found.columns if c not in spec.point)]]


def draw(spec: TradeoffSpec, points: pd.DataFrame) -> "Figure":
    """The figure; points as from `judged`. Draw inside `style.theme()`."""
    panels = list(dict.fromkeys(points[spec.panels]))
    columns = min(spec.columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = style.new_figure(style.WIDTHS["page" if columns > 1 else "column"], rows * 2.3 + 0.45)
    techniques = [name for name in dict.fromkeys(points[spec.technique]) if name != spec.baseline]
    looks = {spec.baseline: (_BASELINE, "*")}
    looks |= {name: (style.COLOURS[i % 7], style.MARKERS[i % 7]) for i, name in enumerate(techniques)}
    right = 1.12 * max(float(points[spec.privacy].max()), 1.3 * spec.leak_line)
    handles: list[object] = []
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        handles = _draw_panel(axes, spec, points[points[spec.panels] == panel], looks, _areas(spec, points))
        axes.set_title(spec.named(spec.panels, panel), pad=3)
        axes.set_xlim(0, right)
        _name_best(axes, spec, points[points[spec.panels] == panel], looks)
        axes.set_xlabel(quantity(spec.privacy, spec).name if i + columns >= len(panels) else "")
        axes.set_ylabel("" if i % columns else quantity(spec.utility, spec).name)
    legend = figure.legend(
        handles=handles,
        loc="upper center",
        ncols=min(len(handles), 4 if columns > 1 else 2),
        frameon=False,
        handletextpad=0.3,
        columnspacing=1.2,
        borderaxespad=0.1,
    )
    box = legend.get_window_extent().transformed(figure.transFigure.inverted())
    figure.tight_layout(pad=0.4, rect=(0, 0, 1, float(1 - box.height)))
    return figure


def _areas(spec: TradeoffSpec, points: pd.DataFrame) -> pd.Series:
    if not spec.size:
        return pd.Series(28.0, index=points.index)
    logs = points[spec.size].map(math.log)
    span = logs.max() - logs.min()
    return _AREAS[0] + (_AREAS[1] - _AREAS[0]) * ((logs - logs.min()) / span if span > 0 else 0.5 * logs**0)


def _draw_panel(
    axes: "Axes", spec: TradeoffSpec, points: pd.DataFrame, looks: dict[str, tuple[str, str]], areas: pd.Series
) -> list[object]:
    """Draw one panel; returns the legend's entries."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import PercentFormatter

    axes.axvline(spec.leak_line, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=1.5)
    whole = points[points[spec.technique] == spec.baseline][spec.utility]
    if len(whole):
        axes.axhline((1 - spec.drop) * whole.iloc[0], color=_ACCURACY, linestyle="--", linewidth=0.9, zorder=1.5)
    front = points[points["front"]].sort_values(spec.privacy)
    axes.plot(front[spec.privacy], front[spec.utility], color=_FRONT, linewidth=0.8, zorder=1.8)
    handles: list[object] = []
    for name, (colour, marker) in looks.items():
        own = points[points[spec.technique] == name]
        for point, area in zip(own.to_dict("records"), areas.loc[own.index], strict=True):
            axes.scatter(
                point[spec.privacy],
                point[spec.utility],
                s=float(area) * (1.6 if marker == "*" else 1.0),
                color=colour,
                marker=marker,
                alpha=1.0 if point["best"] else 0.3,
                edgecolors="white" if point["best"] else "none",
                linewidths=0.5,
                zorder=3 if point["best"] else 2.5,
            )
        entry = Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5, label=spec.shown(name))
        handles.append(entry)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    axes.set_ylim(0, 1.12 * float(points[spec.utility].max()))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return handles


def _name_best(axes: "Axes", spec: TradeoffSpec, points: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    """Write the strength beside the best point of each technique, where no other point is; limits are those drawn."""
    scale = axes.get_figure().dpi / 72  # type: ignore[union-attr]
    places = axes.transData.transform(points[[spec.privacy, spec.utility]].to_numpy()) / scale
    for i, point in enumerate(points.to_dict("records")):
        if not point["best"] or point[spec.technique] == spec.baseline:
            continue
        others = np.delete(places, i, axis=0) - places[i]
        dx, dy = max(_LABEL_OFFSETS, key=lambda offset: _room(offset, others))
        axes.annotate(
            spec.shown(point[spec.strength]),
            (point[spec.privacy], point[spec.utility]),
            (dx, dy),
            textcoords="offset points",
            ha="left" if dx > 0 else "right",
            fontsize=6.5,
            color=looks[point[spec.technique]][0],
            zorder=4,
        )


def _room(offset: tuple[float, float], others: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> float:
    """Points from the middle of a label to the nearest of the other markers (n, 2); what is beyond 15 is enough."""
    middle = offset[0] + math.copysign(9, offset[0]), offset[1] + 2.5
    return float(min([15.0, *np.hypot(*(others - middle).T)]))


def _table_sentences() -> str:
    return (
        "Every point of the figure; bold: the best of its technique. $\\varepsilon$: of the local differential privacy"
        " of one update, where its norm is bounded before Gaussian noise is added."
    )


def _sentences(spec: TradeoffSpec, points: pd.DataFrame) -> list[str]:
    privacy, utility = quantity(spec.privacy, spec).name, quantity(spec.utility, spec).name
    chooses = ", ".join(spec.heading(name).lower() for name in [*spec.chooses, spec.round])
    return [
        f"{utility} of the latest round over {privacy} against the adversary's best choice of {chooses}: "
        f"mean of {style.trials_text(points)}.",
        f"Large: each technique's best point, the most useful one with {privacy} from {spec.leak_line:g} up, with its "
        f"{spec.heading(spec.strength).lower()}; faint: the others.",
        "The area of a point grows with the logarithm of the bytes that an update takes." if spec.size else "",
        f"Dashed: left of the red line a reconstruction is recognisable; below the blue line more than "
        f"{100 * spec.drop:g}% of the accuracy without post-processing is lost.",
        "Grey line: points that no other beats in both.",
    ]
