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
    points: float = 7.5,
    **keys: Any,
) -> None:
    """A rounded box around a middle, with a text in it."""
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = middle, size
    shape = "round,pad=0,rounding_size=0.035"
    lower = (x - width / 2, y - height / 2)
    axes.add_patch(
        FancyBboxPatch(lower, width, height, boxstyle=shape, facecolor=face, edgecolor=edge, linewidth=0.7, zorder=2)
    )
    axes.text(x, y, text, **{"ha": "center", "va": "center_baseline", "fontsize": points, "zorder": 3, **keys})


def arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float], bend: float = 0.0, **keys: Any) -> None:
    """An arrow, straight or bent: as an arc whose height is a share of its length."""
    from matplotlib.patches import FancyArrowPatch

    settings: dict[str, Any] = {"color": INK, "linewidth": 0.8, "zorder": 1.5, **keys}
    curve = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=6, shrinkA=0, shrinkB=0, connectionstyle=curve, **settings
        )
    )
