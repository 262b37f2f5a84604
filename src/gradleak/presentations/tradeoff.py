"""The presentation `tradeoff`: utility over leakage for every strength of every technique (Figure 11)."""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table, unknown_column
from gradleak.analysis.tradeoff import best_of_each, complete, pareto, tradeoff_points
from gradleak.errors import UserError
from gradleak.metrics.rates import TAU_LPIPS
from gradleak.presentations import divergence, markup, style
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPSILON = "epsilon"

_NONE = "none"

_ACCURACY = "#1F4E9C"

_FRONT = "#9A9A9A"

_BASELINE = "#111111"

_AREAS = 9.0, 90.0  # of the smallest and the largest update, in square points

# Where a label may be, in points from its marker; the first with enough room is taken.
_LABEL_OFFSETS = (4.0, 4.0), (4.0, -9.0), (-4.0, 4.0), (-4.0, -9.0)

_TABLE = (
    "Every point of the figure; bold: the best of its technique. $\\varepsilon$: of the local differential privacy"
    " of one update, where its norm is bounded before Gaussian noise is added."
)


@PRESENTATIONS.register("tradeoff")
class Tradeoff(Presentation):
    """A grid of panels, one per value of `panels`: utility over privacy, a point per technique and strength.

    Privacy is against the adversary's best choice of attack round and of the columns `chooses`; utility is that of the
    latest round (see `tradeoff_points`). leak_line: value of `privacy` below which reconstructions are recognisable
    (red). drop: share of the baseline technique's utility that may be lost (blue line at 1 - drop of it). The best
    point of each technique is large, the others are faint; a grey line joins those that no other point beats in both.
    `size` names a column of bytes per update: the area of a point grows with its logarithm. Panels of which a part is
    missing, as in a study that was computed in part, are not drawn; the caption names them.

    Writes `<name>_tradeoff.pdf`, `.png`, `.txt` (caption), and every point as `.csv` and `.tex`.
    """

    endings = ("_tradeoff.pdf", "_tradeoff.png", "_tradeoff.csv", "_tradeoff.tex", "_tradeoff.txt")

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

    @property
    def keys(self) -> list[str]:
        """The point's columns, what the adversary chooses, and the round."""
        return [*self.point, *self.chooses, self.round]

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        self._cells(experiment, data)

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All five files; raises UserError for an unknown column, a cell without results, or no panel that is whole."""
        cells, lacks = self._cells(experiment, data)
        points = self.judged(cells)
        with style.theme():
            files = style.image_files(self.draw(points), "_tradeoff")
        name = f"{data.study}-{self.stem(experiment.name)}_tradeoff"
        files["_tradeoff.csv"] = self._csv(points).encode()
        files["_tradeoff.tex"] = self._latex(points, titled(experiment, data.results), name).encode()
        files["_tradeoff.txt"] = markup.caption(
            titled(experiment, data.results),
            [*self._sentences(points), _missing(lacks), divergence.counted(data.results, experiment)],
            data.study,
        ).encode()
        return files

    def _cells(self, experiment: Experiment, data: StudyData) -> tuple[pd.DataFrame, dict[str, str]]:
        """The cells of panels that are whole, and what the others lack."""
        values = [self.privacy, self.utility, *([self.size] if self.size else [])]
        cells = cell_table(data.results, experiment, self.keys, values, gaps=[self.utility])
        whole, lacks = complete(cells, self.point, self.baseline, self.round, self.utility)
        if whole.empty:
            raise UserError(f"experiment '{experiment.name}': {_missing(lacks)}")
        return whole.assign(**{EPSILON: _epsilons(data.results, whole, experiment)}), lacks

    def judged(self, cells: pd.DataFrame) -> pd.DataFrame:
        """The points with what the figure says of them; cells as from `cell_table`.

        Columns beside those of `tradeoff_points`: `kept` (utility as a share of the baseline's), `defends` (privacy
        from the leak line up), `useful` (kept from 1 - drop up), `best` of its technique, `front` (beaten by no other
        point in privacy and utility) and, with `size`, `front_with_size` (nor in size as the third).
        """
        points = tradeoff_points(cells, self.point, self.chooses, self.round, self.privacy, self.utility)
        frames = []
        for _, own in points.groupby(self.panels, sort=False):
            baseline = own[own[self.technique] == self.baseline][self.utility]
            own = own.assign(kept=own[self.utility] / baseline.iloc[0])
            own["defends"] = own[self.privacy] >= self.leak_line
            own["useful"] = own["kept"] >= 1 - self.drop
            own["best"] = best_of_each(own, [self.technique], self.privacy, self.utility, self.leak_line)
            own["front"] = pareto(own, [self.privacy, self.utility])
            if self.size:
                own["front_with_size"] = pareto(own, [self.privacy, self.utility], [self.size])
            frames.append(own)
        found = pd.concat(frames, ignore_index=True)
        return found[[*self.point, *(c for c in found.columns if c not in self.point)]]

    def draw(self, points: pd.DataFrame) -> "Figure":
        """The figure; points as from `judged`. Draw inside `style.theme()`."""
        panels = list(dict.fromkeys(points[self.panels]))
        columns = min(self.columns, len(panels))
        rows = -(-len(panels) // columns)
        figure = style.new_figure(style.WIDTHS["page" if columns > 1 else "column"], rows * 2.3 + 0.45)
        techniques = [name for name in dict.fromkeys(points[self.technique]) if name != self.baseline]
        looks = {self.baseline: (_BASELINE, "*")}
        looks |= {name: (style.COLOURS[i % 7], style.MARKERS[i % 7]) for i, name in enumerate(techniques)}
        right = 1.12 * max(float(points[self.privacy].max()), 1.3 * self.leak_line)
        handles: list[Artist] = []
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, i + 1)
            handles = self._draw_panel(axes, points[points[self.panels] == panel], looks, self._areas(points))
            axes.set_title(self.named(self.panels, panel), pad=3)
            axes.set_xlim(0, right)
            self._name_best(axes, points[points[self.panels] == panel], looks)
            axes.set_xlabel(self.quantity(self.privacy).name if i + columns >= len(panels) else "")
            axes.set_ylabel("" if i % columns else self.quantity(self.utility).name)
        most = min(len(handles), 4 if columns > 1 else 2)
        top = style.legend_above(figure, handles, most, handletextpad=0.3, columnspacing=1.2)
        figure.tight_layout(pad=0.4, rect=(0, 0, 1, top))
        return figure

    def _areas(self, points: pd.DataFrame) -> pd.Series:
        if not self.size:
            return pd.Series(28.0, index=points.index)
        logs = points[self.size].map(math.log)
        span = logs.max() - logs.min()
        return _AREAS[0] + (_AREAS[1] - _AREAS[0]) * ((logs - logs.min()) / span if span > 0 else 0.5 * logs**0)

    def _draw_panel(
        self, axes: "Axes", points: pd.DataFrame, looks: dict[str, tuple[str, str]], areas: pd.Series
    ) -> list["Artist"]:
        """Draw one panel; returns the legend's entries."""
        from matplotlib.lines import Line2D
        from matplotlib.ticker import PercentFormatter

        axes.axvline(self.leak_line, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=1.5)
        whole = points[points[self.technique] == self.baseline][self.utility]
        axes.axhline((1 - self.drop) * whole.iloc[0], color=_ACCURACY, linestyle="--", linewidth=0.9, zorder=1.5)
        front = points[points["front"]].sort_values(self.privacy)
        axes.plot(front[self.privacy], front[self.utility], color=_FRONT, linewidth=0.8, zorder=1.8)
        handles: list[Artist] = []
        for name, (colour, marker) in looks.items():
            own = points[points[self.technique] == name]
            for point, area in zip(own.to_dict("records"), areas.loc[own.index], strict=True):
                axes.scatter(
                    point[self.privacy],
                    point[self.utility],
                    s=float(area) * (1.6 if marker == "*" else 1.0),
                    color=colour,
                    marker=marker,
                    alpha=1.0 if point["best"] else 0.3,
                    edgecolors="white" if point["best"] else "none",
                    linewidths=0.5,
                    zorder=3 if point["best"] else 2.5,
                )
            entry = Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5, label=self.shown(name))
            handles.append(entry)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
        axes.set_ylim(0, 1.12 * float(points[self.utility].max()))
        style.open_axes(axes)
        return handles

    def _name_best(self, axes: "Axes", points: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
        """Write the strength beside the best point of each technique, where no other point is, once limits are set."""
        scale = axes.get_figure().dpi / 72  # type: ignore[union-attr]
        places = axes.transData.transform(points[[self.privacy, self.utility]].to_numpy()) / scale
        for i, point in enumerate(points.to_dict("records")):
            if not point["best"] or point[self.technique] == self.baseline:
                continue
            others = np.delete(places, i, axis=0) - places[i]
            dx, dy = max(_LABEL_OFFSETS, key=lambda offset: _room(offset, others))
            axes.annotate(
                self.shown(point[self.strength]),
                (point[self.privacy], point[self.utility]),
                (dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                fontsize=6.5,
                color=looks[point[self.technique]][0],
                zorder=4,
            )

    def _csv(self, points: pd.DataFrame) -> str:
        """All columns of the points; an epsilon that there is not is `none`."""
        texts = [_NONE if math.isnan(value) else f"{value:.6g}" for value in points[EPSILON]]
        shown = points.assign(**{EPSILON: texts})
        return shown.to_csv(index=False, float_format="%.6g", lineterminator="\n")

    def _latex(self, points: pd.DataFrame, title: str, name: str) -> str:
        """A table over pages, a line per point in the order of the plan; best points are bold."""
        measured = [self.utility, self.privacy]
        labels = [*self.point, *self.chooses, self.round]
        numbers = [*measured, *([self.size] if self.size else []), EPSILON]
        titles = [self.heading(key) for key in labels] + [self.quantity(key).name for key in measured]
        titles += [self.heading(self.size)] if self.size else []
        heading = markup.line([markup.escape(title) for title in titles] + [r"$\varepsilon$"])
        body = []
        for point in points.to_dict("records"):
            texts = [self.shown(point[key]) for key in labels]
            texts += [self.quantity(key).text(point[key]) for key in measured]
            texts += [f"{point[self.size]:,.0f}"] if self.size else []
            texts += [_NONE if math.isnan(point[EPSILON]) else f"{point[EPSILON]:.3g}"]
            cells = [markup.escape(text) for text in texts]
            body.append(markup.line([rf"\textbf{{{text}}}" for text in cells] if point["best"] else cells))
        caption = markup.escape(f"{markup.sentence(title)} {_TABLE}")
        return markup.long_frame(body, [heading], "l" * len(labels) + "r" * len(numbers), caption, name)

    def _sentences(self, points: pd.DataFrame) -> list[str]:
        privacy, utility = self.quantity(self.privacy).name, self.quantity(self.utility).name
        chooses = ", ".join(self.heading(name).lower() for name in [*self.chooses, self.round])
        return [
            f"{utility} of the latest round over {privacy} against the adversary's best choice of {chooses}: "
            f"mean of {markup.trials_text(points)}.",
            f"Large: each technique's best point, the most useful one with {privacy} from {self.leak_line:g} up, with "
            f"its {self.heading(self.strength).lower()}; faint: the others.",
            "The area of a point grows with the logarithm of the bytes that an update takes." if self.size else "",
            f"Dashed: left of the red line a reconstruction is recognisable; below the blue line more than "
            f"{100 * self.drop:g}% of the accuracy without post-processing is lost.",
            "Grey line: points that no other beats in both.",
        ]


def _missing(lacks: dict[str, str]) -> str:
    """Which panels are not drawn, and what there is of them. Empty where all are."""
    return f"Not drawn: {'; '.join(f'{name} (has {what})' for name, what in lacks.items())}." if lacks else ""


def _epsilons(results: pd.DataFrame, cells: pd.DataFrame, experiment: Experiment) -> pd.Series:
    """The epsilon of every cell's post-processing, NaN where it has none; raises UserError where there is no column."""
    if EPSILON not in results.columns:
        raise unknown_column(results, experiment, EPSILON)
    return cells["cell_id"].map(results.groupby("cell_id")[EPSILON].first()).astype(float)


def _room(offset: tuple[float, float], others: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> float:
    """Points from the middle of a label to the nearest of the other markers (n, 2); what is beyond 15 is enough."""
    middle = offset[0] + math.copysign(9, offset[0]), offset[1] + 2.5
    return float(min([15.0, *np.hypot(*(others - middle).T)]))
