"""Draws Figure 8: skip connections (Eqs. 11 and 12) and net-in-net, two widely used structures (Sec. 5.2.1)."""

from typing import TYPE_CHECKING, Literal

from gradleak.presentations import style
from gradleak.survey.shapes import INK, PALE, arrow, box, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Join = Literal["none", "add", "concatenate"]

#: Chains: name, how a skip joins, and the layer's factor in the gradient that goes back through it (Eqs. 11 and 12).
CHAINS: tuple[tuple[str, Join, str], ...] = (
    ("Sequential", "none", r"$\mathbf{W}_l$"),
    ("ResNet", "add", r"$\mathbf{W}_l+\mathbf{1}$"),
    ("DenseNet", "concatenate", r"$[\mathbf{W}_l,\mathbf{1}]$"),
)

#: Branches of GoogLeNet's block (Szegedy et al. 2015), from the input on: kernel size and kind.
BRANCHES = (("1x1 conv",), ("1x1 conv", "3x3 conv"), ("1x1 conv", "5x5 conv"), ("3x3 pool", "1x1 conv"))
_SKIP, _LAYER, _KERNEL = style.COLOURS[0], "#FFF1D0", "#DCEAF7"

# Inches from below: input, first layer, its join, second layer, its join, output, factor, name.
_INPUT, _FIRST, _JOIN, _SECOND, _END, _OUTPUT, _FACTOR, _NAME = 0.42, 0.78, 1.1, 1.42, 1.74, 2.0, 2.14, 2.4
_BOX = (0.62, 0.22)


def draw() -> "Figure":
    """Left: two layers without and with skip connections. Right: a net-in-net block. Inside a theme."""
    figure, axes = canvas(style.WIDTHS["page"], 2.55)
    for index, (name, join, factor) in enumerate(CHAINS):
        _draw_chain(axes, 0.58 + 1.2 * index, name, join, factor)
    axes.plot([3.72, 3.72], [0.12, 2.45], color="#CCCCCC", linewidth=0.6)
    _draw_block(axes, 5.36)
    axes.text(1.8, 0.06, "(a) Skip connections", ha="center", va="bottom", fontsize=8.5)
    axes.text(5.36, 0.06, "(b) Net-in-net", ha="center", va="bottom", fontsize=8.5)
    return figure


def _draw_chain(axes: "Axes", x: float, name: str, join: Join, factor: str) -> None:
    axes.text(x, _NAME, name, ha="center", va="center", fontsize=8.5, fontweight="bold")
    colour = INK if join == "none" else _SKIP
    axes.text(x, _FACTOR, factor, ha="center", va="center", fontsize=8, color=colour)
    axes.text(x, _INPUT, r"$\mathbf{I}_l$", ha="center", va="center", fontsize=8)
    box(axes, (x, _FIRST), _BOX, r"layer $l$", face=_LAYER)
    box(axes, (x, _SECOND), _BOX, r"layer $l+1$", face=_LAYER)
    arrow(axes, (x, _INPUT + 0.08), (x, _FIRST - 0.12))
    if join == "none":
        arrow(axes, (x, _FIRST + 0.12), (x, _SECOND - 0.12))
        arrow(axes, (x, _SECOND + 0.12), (x, _OUTPUT))
        return
    for below, end in ((_FIRST, _JOIN), (_SECOND, _END)):
        arrow(axes, (x, below + 0.12), (x, end - 0.07))
        _draw_join(axes, x, end, join)
    arrow(axes, (x, _JOIN + 0.07), (x, _SECOND - 0.12))
    arrow(axes, (x, _END + 0.07), (x, _OUTPUT))
    _draw_skip(axes, x, _INPUT + 0.12, _JOIN, 0.42)
    if join == "add":
        _draw_skip(axes, x, _JOIN + 0.12, _END, 0.42)
    else:  # Every layer receives what all layers before it gave.
        _draw_skip(axes, x, _JOIN + 0.12, _END, -0.42)
        _draw_skip(axes, x, _INPUT + 0.12, _END, 0.5)


def _draw_join(axes: "Axes", x: float, y: float, join: Join) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle((x, y), 0.068, facecolor="white", edgecolor=_SKIP, linewidth=0.8, zorder=2))
    across = [(-0.04, 0.04), (0, 0)] if join == "add" else [(-0.018, -0.018), (-0.035, 0.035)]
    down = [(0, 0), (-0.04, 0.04)] if join == "add" else [(0.018, 0.018), (-0.035, 0.035)]
    for horizontal, vertical in (across, down):
        axes.plot(
            [x + part for part in horizontal], [y + part for part in vertical], color=_SKIP, linewidth=0.9, zorder=3
        )


def _draw_skip(axes: "Axes", x: float, start: float, end: float, reach: float) -> None:
    """A skip connection around a layer: out to one side by `reach` inches, up, and back into the join."""
    axes.plot(
        [x, x + reach, x + reach], [start, start, end], color=_SKIP, linewidth=1.0, zorder=1.4, solid_joinstyle="round"
    )
    arrow(axes, (x + reach, end), (x + (0.075 if reach > 0 else -0.075), end), color=_SKIP, linewidth=1.0)


def _draw_block(axes: "Axes", x: float) -> None:
    axes.text(
        x, _NAME, "Kernels of several sizes side by side", ha="center", va="center", fontsize=8.5, fontweight="bold"
    )
    box(axes, (x, _INPUT + 0.02), (1.0, 0.22), "input", face=PALE)
    box(axes, (x, 1.86), (2.9, 0.22), "filter concatenation", face=PALE)
    arrow(axes, (x, 1.98), (x, 2.22))
    for index, branch in enumerate(BRANCHES):
        at = x + (index - 1.5) * 0.78
        heights = (1.17,) if len(branch) == 1 else (0.94, 1.4)
        arrow(axes, (x + (index - 1.5) * 0.2, _INPUT + 0.14), (at, heights[0] - 0.13))
        for kind, height in zip(branch, heights, strict=True):
            text = kind.replace("x", r"$\times$")
            box(axes, (at, height), (0.68, 0.23), text, face=_LAYER if "pool" in kind else _KERNEL)
        if len(heights) == 2:
            arrow(axes, (at, heights[0] + 0.13), (at, heights[1] - 0.13))
        arrow(axes, (at, heights[-1] + 0.13), (at, 1.74))
