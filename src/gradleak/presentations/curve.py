"""The presentation `curve`: a quantity over another for many settings at once, and how well one curve holds them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field, model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.monotone import held, monotone_fit, rises
from gradleak.analysis.summary import DIVERGED, attacked, cell_table, ordered
from gradleak.analysis.text import as_text, csv_text, fixed, minus
from gradleak.errors import UserError
from gradleak.presentations import divergence, markup, style, theorem42
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Columns of points that no label can be called.
COLOUR, MARKER = "values that give the colour", "value that gives the marker"

_CURVE = "#C4C4C4"

_INK = "#333333"

# Where an axis even in the angle has its marks.
_COSINES = (-1, -0.9, -0.7, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _texts(value: object) -> object:
    return [as_text(item) for item in value] if isinstance(value, list | tuple) else [as_text(value)]


@PRESENTATIONS.register("curve")
class Curve(Presentation):
    """Points: `y` over `x`. A large one is an entry, the mean over its trials; small ones are single trials.

    An entry is what has the same values of `colour` (one label or column, or several that give the colour together), of
    `marker`, and of `entries`, which tell entries apart and are not shown. where: labels or columns, and the values of
    the cells that are drawn; by default all. A point is hollow where a client diverged. A
    grey line is the monotone curve that is closest to all entries. angle: x is a cosine, and its axis is even in
    the angle, so that values near 1 stand apart. leak_line: value of y below which reconstructions are recognisable.
    beside: `theorem42`, a panel to the right (see `presentations.theorem42`).

    Writes `<name>_curve.pdf`, `.png`, `.txt` (caption), `.csv` (the entries, `fit`: the curve), and
    `<name>_curve_fit.csv`: how well one curve holds all entries and those of each colour (`analysis.monotone.held`).
    """

    endings = ("_curve.pdf", "_curve.png", "_curve.csv", "_curve.txt", "_curve_fit.csv")

    kind: Literal["curve"] = "curve"
    x: str = "update_cosine"
    y: str = "lpips"
    colour: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
    marker: str | None = None
    entries: tuple[str, ...] = ()
    where: Mapping[str, Annotated[tuple[str, ...], BeforeValidator(_texts)]] = {}
    angle: bool = False
    leak_line: float | None = None
    beside: Literal["theorem42"] | None = None
    xlabel: str | None = None
    ylabel: str | None = None
    width: Literal["column", "page"] = "page"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({*self.keys, self.x, self.y}) != len(self.keys) + 2:
            raise ValueError("colour, marker, entries, x and y must not repeat a name")
        if self.beside and self.width == "column":
            raise ValueError("beside needs width: page")
        return self

    @property
    def keys(self) -> list[str]:
        """What tells entries apart."""
        return [*self.colour, *([self.marker] if self.marker else []), *self.entries]

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        self.cells(experiment, data)

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All five files; raises UserError as `cells`."""
        cells = self.cells(experiment, data)
        points = self.points(cells)
        fits = held(points, list(self.colour), self.x, self.y)
        left_out = len(self._without_x(self.chosen(experiment, data), data))
        with style.theme():
            files = style.image_files(self.draw(cells, points), "_curve")
        files["_curve.csv"] = self._csv(points).encode()
        files["_curve.txt"] = markup.caption(
            titled(experiment, data.results), self._sentences(points, fits, left_out), data.study
        ).encode()
        files["_curve_fit.csv"] = self._fits_csv(fits).encode()
        return files

    def cells(self, experiment: Experiment, data: StudyData) -> pd.DataFrame:
        """One row per cell, as from `cell_table`, with its `COLOUR` and `MARKER`.

        Raises UserError for an unknown column, a cell without results, an x that is no cosine where the axis is one of
        angles, and for more colours or markers than can be told apart.
        """
        where = f"experiment '{experiment.name}'"
        experiment = self.chosen(experiment, data)
        unknown = self._without_x(experiment, data)
        experiment = replace(experiment, cells=experiment.cells[~experiment.cells["cell_id"].isin(unknown)])
        if experiment.cells.empty:
            raise UserError(f"{where}: no cell has a finite '{self.x}'")
        cells = cell_table(data.results, experiment, self.keys, [self.x, self.y])
        cells = divergence.marked(cells, data.results, experiment)
        cells[COLOUR] = pd.Series([*zip(*(cells[key] for key in self.colour), strict=True)], cells.index)
        cells[MARKER] = cells[self.marker] if self.marker else ""
        for what, column, most in (("colour", COLOUR, style.COLOURS), ("marker", MARKER, style.MARKERS)):
            if (count := cells[column].nunique()) > len(most):
                raise UserError(f"{where}: {what} has {count} values, at most {len(most)} can be told apart")
        outside = cells[self.x][cells[self.x].abs() > 1 + 1e-6]
        if self.angle and len(outside):
            raise UserError(f"{where}: angle needs a cosine, '{self.x}' is {outside.iloc[0]:g}")
        return cells

    def chosen(self, experiment: Experiment, data: StudyData) -> Experiment:
        """The attacked cells that `where` names. Raises UserError for an unknown column, and where there is none."""
        table = cell_table(data.results, experiment, list(self.where), [])
        for key, values in self.where.items():
            table = table[table[key].map(as_text).isin(values)]
        if table.empty:
            raise UserError(f"experiment '{experiment.name}': curve has no cells with {dict(self.where)}")
        return replace(experiment, cells=attacked(data.results, experiment).cells.loc[table.index])

    def _without_x(self, experiment: Experiment, data: StudyData) -> list[str]:
        """The cells whose x is no finite number, as of a gradient that overflows at the point that is matched."""
        rows = data.results[data.results["chosen"].astype(bool)]
        if self.x in experiment.labels or self.x not in rows or not pd.api.types.is_float_dtype(rows[self.x]):
            return []
        values = rows[self.x].replace([math.inf, -math.inf], math.nan)
        missing = set(rows["cell_id"][values.isna()])
        return [str(cell) for cell in experiment.cells["cell_id"] if cell in missing]

    def points(self, cells: pd.DataFrame) -> pd.DataFrame:
        """One row per entry in the plan's order; cells as from `cells`.

        Columns: the `keys`, `COLOUR`, `MARKER`, `x` and `y` under their names (means over trials), `std` (of y), `fit`
        (the one curve), `trials` and, where some client diverged, `DIVERGED` (in how many).
        """
        groups = cells.groupby(self.keys, sort=False)
        points = groups[[COLOUR, MARKER]].first().join(groups[[self.x, self.y]].mean())
        points = points.assign(std=groups[self.y].std(ddof=1), trials=groups.size())
        if DIVERGED in cells:
            points[DIVERGED] = groups[DIVERGED].sum()
        points = points.reset_index()
        x, y = points[self.x], points[self.y]
        return points.assign(fit=monotone_fit(x, y, rises(x, y)))

    def draw(self, cells: pd.DataFrame, points: pd.DataFrame) -> "Figure":
        """The figure; cells as from `cells`, points as from `points`. Draw inside `style.theme()`."""
        figure = style.new_figure(style.WIDTHS[self.width], 3.1 if self.width == "page" else 2.9)
        colours = dict(zip(dict.fromkeys(points[COLOUR]), style.COLOURS, strict=False))
        markers = dict(zip(ordered(points[MARKER]), style.MARKERS, strict=False))
        ratios = [1.75, 1.0] if self.beside else [1.0]
        axes, *others = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
        self._draw_points(axes, cells, points, colours, markers)
        self._draw_axes(axes, points)
        for panel in others:
            theorem42.draw(panel)
            axes.set_title("(a) Measured", pad=4)
            panel.set_title(f"(b) {theorem42.TITLE}", pad=4)
        top = self._draw_legends(figure, points, colours, markers)
        for _ in range(2):  # Which marks of x have room depends on the width, and their labels are part of the height.
            figure.tight_layout(pad=0.4, w_pad=1.2, rect=(0, 0, 1, top))
            if self.angle:
                self._mark_cosines(axes)
        return figure

    def _place(self, values: pd.Series) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Where values of x stand on the axis."""
        numbers = values.to_numpy(dtype=float)
        return -np.degrees(np.arccos(np.clip(numbers, -1, 1))) if self.angle else numbers

    def _draw_points(
        self,
        axes: "Axes",
        cells: pd.DataFrame,
        points: pd.DataFrame,
        colours: Mapping[object, str],
        markers: Mapping[object, str],
    ) -> None:
        curve = points.sort_values(self.x, kind="stable")
        axes.plot(self._place(curve[self.x]), curve["fit"], color=_CURVE, linewidth=2.4, zorder=2.1)
        for frame, large in ((cells, False), (points, True)):
            hollow = frame[DIVERGED] > 0 if DIVERGED in frame else pd.Series(False, frame.index)
            for (colour, marker, empty), own in frame.groupby([COLOUR, MARKER, hollow], sort=False):
                ink = colours[colour]
                face, edge = ("white" if large else "none", ink) if empty else (ink, "white" if large else "none")
                axes.scatter(
                    self._place(own[self.x]),
                    own[self.y],
                    s=26 if large else 6,
                    marker=markers[marker],
                    facecolors=face,
                    edgecolors=edge,
                    linewidths=(1.0 if empty else 0.5) if large else 0.5,
                    alpha=1.0 if large else 0.35,
                    zorder=3 if large else 2.3,
                )

    def _draw_axes(self, axes: "Axes", points: pd.DataFrame) -> None:
        if self.leak_line is not None:
            style.leak_line(axes, self.leak_line)
        top = max(float(points[self.y].max()), axes.dataLim.y1, 1.5 * (self.leak_line or 0.0))
        axes.set_ylim(min(0.0, 1.06 * axes.dataLim.y0), 1.06 * top or 1.0)
        axes.set_xlabel(self.xlabel or self.quantity(self.x).name)
        axes.set_ylabel(self.ylabel or self.quantity(self.y).title)
        axes.grid(axis="x", visible=False)
        style.open_axes(axes)

    def _mark_cosines(self, axes: "Axes") -> None:
        """Put marks where there is room for them. Limits stay."""
        low, high = axes.get_xlim()
        places = self._place(pd.Series(_COSINES))
        ticks = [(float(at), f"{value:g}") for at, value in zip(places, _COSINES, strict=True) if low <= at <= high]
        if ticks:
            ticks = style.spaced(axes, ticks)
        axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
        axes.set_xlim(low, high)

    def _draw_legends(
        self, figure: "Figure", points: pd.DataFrame, colours: Mapping[object, str], markers: Mapping[object, str]
    ) -> float:
        """A legend of colours and below it one of markers; returns the height left below them."""
        from matplotlib.lines import Line2D

        def entry(label: str, marker: str = "", line: str = "none", **look: object) -> "Artist":
            return Line2D([], [], marker=marker, linestyle=line, markersize=5, label=label, **look)  # type: ignore[arg-type]

        spacing = {"handletextpad": 0.4, "columnspacing": 1.2, "handlelength": 1.4}
        named = [entry(self._called(colour), "o", color=ink) for colour, ink in colours.items()]
        columns = math.ceil(len(named) / math.ceil(len(named) / 4))
        # A legend is filled by columns, and read by rows.
        named = [own for first in range(columns) for own in named[first::columns]]
        top = style.legend_above(figure, named, columns, **spacing)
        shapes = [entry(f"{self.heading(self.marker)}:")] if self.marker else []
        if self.marker:
            shapes += [entry(self.shown(value), marker, color=_INK) for value, marker in markers.items()]
        others = [entry("one curve", line="-", color=_CURVE, linewidth=2.4, solid_capstyle="butt")]
        if DIVERGED in points:
            others.append(entry("client diverged", "o", color=_INK, markerfacecolor="white", markeredgewidth=1.0))
        if self.width == "column":
            spacing |= {"handletextpad": 0.2, "columnspacing": 0.7}
        for line in [[*shapes, *others]] if self.width == "page" else [shapes, others]:
            top = style.legend_above(figure, line, len(line), top, **spacing) if line else top
        return top

    def _called(self, colour: object) -> str:
        assert isinstance(colour, tuple)
        return ", ".join(self.named(key, value) for key, value in zip(self.colour, colour, strict=True))

    def _csv(self, points: pd.DataFrame) -> str:
        numbers = [self.x, self.y, "std", "fit"]
        counts = ["trials", *([DIVERGED] if DIVERGED in points else [])]
        rows = [
            [*(row[key] for key in self.keys), *(fixed(row[name]) for name in numbers), *(row[name] for name in counts)]
            for row in points.to_dict("records")
        ]
        return csv_text([[*self.keys, *numbers, *counts], *rows])

    def _fits_csv(self, fits: pd.DataFrame) -> str:
        numbers = ["rho", "low", "high", "p", "sd", "residual", "offset", "own_residual"]
        rows = [
            [*(row[key] for key in self.colour), self.x, self.y, row["n"], *(fixed(row[name]) for name in numbers)]
            for row in fits.to_dict("records")
        ]
        return csv_text([[*self.colour, "x", "y", "n", *numbers], *rows])

    def _sentences(self, points: pd.DataFrame, fits: pd.DataFrame, left_out: int) -> list[str]:
        x, y = self.quantity(self.x).name, self.quantity(self.y)
        one, each = fits.iloc[0], fits["rho"].iloc[1:].dropna()
        rho = f"Spearman's rank correlation of {y.name} with {x} over all {len(points)} entries: {_two(one['rho'])}"
        if len(each) > 1:
            rho += f"; within {len(each)} colours: {_two(each.min())} to {_two(each.max())}"
        return [
            "(a)" if self.beside else "",
            f"Large: means of {markup.trials_text(points)}; small: single trials.",
            f"The axis of {x} is even in the angle." if self.angle else "",
            f"{left_out} trials whose {x} is no finite number are left out." if left_out else "",
            f"{rho}.",
            f"Grey: the monotone curve closest to all entries. Around it {y.name} has a standard deviation of "
            f"{y.text(one['residual'])}, around a curve of its own for each colour, which is never farther, "
            f"{y.text(one['own_residual'])}, and around its mean {y.text(one['sd'])}.",
            divergence.explained("Hollow", points.get(DIVERGED, ()), int(points["trials"].max())),
            markup.leak_text(y.name, self.leak_line),
            f"(b) {theorem42.SENTENCE}" if self.beside else "",
        ]


def _two(rho: float) -> str:
    """A correlation in two digits."""
    return "undefined" if math.isnan(rho) else minus(fixed(rho, 2))
