"""Boxes, arrows and texts on a canvas measured in inches."""

from typing import TYPE_CHECKING, Any

from gradleak.presentations import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE = "#222222", "#F4F4F4"


def canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure and axes without frame over all of it, both axes in inches from the lower left."""
    figure = style.new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def box(
    axes: "Axes",
    middle: tuple[float, float],
    size: tuple[float, float],
    text: str = "",
    *,
    face: str = "white",
    edge: str = INK,
) -> None:
    """A box around a middle, with a text in it."""
    (x, y), (width, height) = middle, size
    rounded(axes, (x - width / 2, y - height / 2), size, 0.035, facecolor=face, edgecolor=edge, linewidth=0.7)
    axes.text(x, y, text, ha="center", va="center_baseline", fontsize=7.5, zorder=3)


def rounded(axes: "Axes", corner: tuple[float, float], size: tuple[float, float], radius: float, **look: Any) -> None:
    """A rectangle with rounded corners; corner: its lower left; look: as of matplotlib's patches."""
    from matplotlib.patches import FancyBboxPatch

    shape = f"round,pad=0,rounding_size={radius}"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, zorder=2, **look))


def arrow(
    axes: "Axes", start: tuple[float, float], end: tuple[float, float], color: str = INK, linewidth: float = 0.8
) -> None:
    """A straight arrow."""
    from matplotlib.patches import FancyArrowPatch

    shape = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=6, shrinkA=0, shrinkB=0)
    shape.set(color=color, linewidth=linewidth, zorder=1.5)
    axes.add_patch(shape)
