"""Draws Figure 2: the three aspects that lie between training data and what the server sees (Sec. 3)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradleak.presentations import style
from gradleak.survey.shapes import PALE, arrow, box, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Aspect:
    """One of the three: its question, and what Sec. 3 says that literature assumes and that practice has."""

    name: str
    question: str
    literature: tuple[str, ...]
    practice: tuple[str, ...]
    colour: str


ASPECTS = (
    Aspect(
        "Training setup",
        "RQ1, Sec. 4",
        ("one batch, $B=N$", "one step, $U=1$", "8 images of", r"$32\times32$ pixels"),
        ("mini-batches, $B<N$", "many steps", "64 images of", r"$128\times128$ pixels"),
        style.COLOURS[0],
    ),
    Aspect(
        "Model",
        "RQ2, Sec. 5",
        ("chosen architecture", "pre-trained, or", "weights from a", "wide uniform"),
        ("any architecture", "at any stage of", "its training"),
        style.COLOURS[2],
    ),
    Aspect(
        "Post-processing",
        "RQ3, Sec. 6",
        ("raw gradients",),
        ("quantization", "sparsification", "clipping", "perturbation"),
        "#B87900",
    ),
)

# Inches: an aspect's box, the gap to the next, the left end of the first, all boxes' height, a line of text; the height
# of the row of boxes and of the way back.
_WIDTH, _GAP, _LEFT, _HEIGHT, _LINE, _ROW, _BACK = 1.52, 0.17, 1.02, 0.44, 0.125, 1.5, 0.12
_SIDE = 0.78


def draw() -> "Figure":
    """The data, three aspects and the shared update; below them the adversary's way back. Inside a theme."""
    width = style.WIDTHS["page"]
    figure, axes = canvas(width, _ROW + _HEIGHT / 2 + 0.04)
    first, last = 0.02 + _SIDE / 2, width - 0.02 - _SIDE / 2
    box(axes, (first, _ROW), (_SIDE, _HEIGHT), "Training\ndata $(\\mathbf{x},\\mathbf{y})$", face=PALE)
    box(axes, (last, _ROW), (_SIDE, _HEIGHT), "Shared\nupdate", face=PALE)
    left = first + _SIDE / 2
    for index, aspect in enumerate(ASPECTS):
        centre = _LEFT + _WIDTH / 2 + index * (_WIDTH + _GAP)
        _draw_aspect(axes, aspect, centre)
        arrow(axes, (left + 0.02, _ROW), (centre - _WIDTH / 2 - 0.02, _ROW))
        left = centre + _WIDTH / 2
    arrow(axes, (left + 0.02, _ROW), (last - _SIDE / 2 - 0.02, _ROW))
    _draw_adversary(axes, first, last)
    return figure


def _draw_aspect(axes: "Axes", aspect: Aspect, centre: float) -> None:
    box(axes, (centre, _ROW), (_WIDTH, _HEIGHT), edge=aspect.colour)
    name = axes.text(centre, _ROW + 0.08, aspect.name, ha="center", va="center", fontsize=8.5, zorder=3)
    name.set(fontweight="bold", color=aspect.colour)
    axes.text(centre, _ROW - 0.1, aspect.question, ha="center", va="center", fontsize=7, zorder=3)
    for side, title, lines in ((-1, "Literature", aspect.literature), (1, "Practice", aspect.practice)):
        x, top = centre + side * _WIDTH / 4, _ROW - _HEIGHT / 2 - 0.12
        axes.text(x, top, title, ha="center", va="center", fontsize=7, color=aspect.colour, fontweight="bold")
        for index, line in enumerate(lines):
            axes.text(x, top - _LINE * (index + 1) - 0.01, line, ha="center", va="center", fontsize=6.2)
    bottom = _ROW - _HEIGHT / 2 - 0.08
    axes.plot([centre, centre], [bottom, bottom - 0.58], color="#CCCCCC", linewidth=0.6)


def _draw_adversary(axes: "Axes", first: float, last: float) -> None:
    height = 0.58
    box(axes, (last, height), (_SIDE, _HEIGHT), "Adversary\n(server)", face="#FBEAEA", edge=style.LIMIT)
    arrow(axes, (last, _ROW - _HEIGHT / 2 - 0.02), (last, height + _HEIGHT / 2 + 0.02), color=style.LIMIT)
    axes.text(last + 0.05, (_ROW + height) / 2, "GIA", color=style.LIMIT, fontsize=7.5, va="center")
    (way,) = axes.plot([last, last, first, first], [height - _HEIGHT / 2 - 0.02, _BACK, _BACK, _ROW - 0.36])
    way.set(color=style.LIMIT, linewidth=0.8, linestyle=(0, (4, 2)))
    arrow(axes, (first, _ROW - 0.4), (first, _ROW - _HEIGHT / 2 - 0.02), color=style.LIMIT)
    axes.text(first + 0.06, 0.46, "reconstructed\ndata", color=style.LIMIT, fontsize=7, va="center", linespacing=1.1)
