"""Draws the experiment on Theorem 4.3: pairs of images with one gradient, size of the mask, and p against B x D."""

import math
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from gradleak.figures import style
from gradleak.theory.rounding import ROUNDING
from gradleak.theory.theorem43 import RMS, Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SERIES = {
    "model": "one image, more channels",
    "batch": "one model, larger batch",
    "narrow": "192 values for 256 pixels",
}
_DIRECTIONS = {
    "image": r"$\varepsilon\mathbf{x}$, as in the proof",
    "random": "random",
    "null space": r"null space of $\Phi'(\mathbf{x})$",
    "corrected": "corrected",
}


def draw(wish: Tensor, pairs: list[Pair], sizes: pd.DataFrame, sweep: pd.DataFrame) -> "Figure":
    """Above: x, what has its gradient, and where the mask leads to. Below: two panels. Inside a theme."""
    figure = style.new_figure(style.WIDTHS["page"], 4.0)
    _draw_pictures(figure, wish, pairs)
    grid = figure.add_gridspec(1, 2, left=0.08, right=0.99, bottom=0.1, top=0.51, wspace=0.27)
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    _draw_sizes(left, sizes)
    _draw_sweep(right, sweep)
    for axes in (left, right):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure


def _draw_pictures(figure: "Figure", wish: Tensor, pairs: list[Pair]) -> None:
    shown = [
        (pairs[0].truth, r"$\mathbf{x}$", ""),
        *((pair.other, rf"$\mathbf{{x}}+\Delta$, $p={pair.ratio:.2f}\,BD$", _below(pair)) for pair in reversed(pairs)),
        (wish, r"what $\Delta$ aims at", ""),
    ]
    grid = figure.add_gridspec(1, len(shown), left=0.02, right=0.98, bottom=0.675, top=0.945, wspace=0.1)
    for column, (image, above, below) in enumerate(shown):
        axes = figure.add_subplot(grid[column])
        axes.imshow(image.clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.set_title(above, pad=3)
        axes.set_xlabel(below, fontsize=7, labelpad=2)


def _below(pair: Pair) -> str:
    same = "same gradient" if pair.difference < ROUNDING else f"gradient off by {pair.difference:.0e}"
    return f"mask {pair.rms:.2f} RMS\n{same}"


def _draw_sizes(axes: "Axes", sizes: pd.DataFrame) -> None:
    for index, (name, text) in enumerate(_DIRECTIONS.items()):
        points = sizes[sizes["direction"] == name]
        _plot(axes, points["rms"], points["difference"], index, "-", text)
    axes.set_xscale("log")
    axes.set_xlabel(r"Mask $\Delta$ (RMS, pixels in [0, 1])")
    axes.set_title(rf"(a) $p={sizes['ratio'].iloc[0]:.2f}\,BD$", pad=3)
    _finish(axes)


def _draw_sweep(axes: "Axes", sweep: pd.DataFrame) -> None:
    for index, (name, text) in enumerate(_SERIES.items()):
        points = sweep[sweep["series"] == name].sort_values("ratio")
        _plot(axes, points["ratio"], points["difference"], index, style.DASHES[index], text)
    axes.axvline(1, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=1.5)
    axes.annotate(
        "$p=BD$", (1, 3e-2), xytext=(-3, 0), textcoords="offset points", color=style.LIMIT, fontsize=7, ha="right"
    )
    axes.set_xlabel("$p\\,/\\,BD$")
    axes.set_title(f"(b) Masks of {RMS:g} RMS", pad=3)
    _finish(axes)


def _plot(axes: "Axes", x: pd.Series, y: pd.Series, index: int, dash: object, text: str) -> None:
    axes.plot(
        x,
        y.clip(lower=ROUNDING),
        color=style.COLOURS[index],
        marker=style.MARKERS[index],
        linestyle=dash,
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=text,
    )


def _finish(axes: "Axes") -> None:
    axes.set_yscale("log")
    axes.set_ylim(ROUNDING / 8, 8)
    ticks = (1e-8, 1e-6, 1e-4, 1e-2, 1)
    axes.set_yticks([ROUNDING, *ticks], ["0", *(f"$10^{{{round(math.log10(tick))}}}$" for tick in ticks)])
    axes.set_ylabel("Change of the gradient, relative")
    legend = axes.legend(frameon=False, handlelength=2.2, handletextpad=0.4, labelspacing=0.25, loc="lower right")
    legend.set_bbox_to_anchor((1, 0.06), transform=axes.transAxes)
