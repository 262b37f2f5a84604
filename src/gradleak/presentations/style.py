"""The look of figures: sizes, colours, frames, legends, and the files that they become."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Widths in inches of one column and of both columns of a two-column page.
WIDTHS = {"column": 3.35, "page": 7.0}

#: Colours that stay distinct with any common colour blindness (Okabe and Ito), vermilion kept for limits.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#555555", "#7A5195"]

LIMIT = "#C1272D"

MARKERS = ["o", "s", "^", "D", "v", "P", "X"]

DASHES: list[str | tuple[int, tuple[float, ...]]] = [
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.2, 1.2, 1.2)),
    (0, (3, 1)),
    (0, (1, 2)),
    "-",
]

# seaborn's style "ticks" with a grid, as far as it differs from matplotlib's defaults and is not set below. Copied, not
# asked for: importing seaborn and the statistics behind it takes longer than drawing a figure.
TICKS: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
}

_SIZES: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "grid.color": "#E4E4E4",
    "axes.edgecolor": "#333333",
    "axes.labelcolor": "#222222",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "text.color": "#222222",
    # DejaVu and STIX ship with matplotlib: no figure depends on the fonts of a machine.
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "axes.unicode_minus": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "gradleak",
}


@contextmanager
def theme() -> Iterator[None]:
    """While it is open, figures are drawn in the project's style; matplotlib's settings are left as found."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(TICKS | _SIZES)
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches that belongs to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def text_width(text: str, size: float) -> float:
    """Width in inches of a text (may hold `$math$`) of a size in points. Measure inside `theme()`."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    path = TextPath((0, 0), text, size=size, prop=FontProperties(family="STIXGeneral"))
    # Glyphs fitted to the pixels of a low resolution are up to 8% wider than their outlines.
    return 1.08 * float(path.get_extents().width) / 72


def wrap(text: str, width: float, size: float) -> str:
    """The text broken at spaces (not in `$math$`) into lines of at most a width in inches, where its words allow."""
    lines: list[str] = []
    for word in re.findall(r"(?:\$[^$]*\$|\S)+", text):
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def rule(figure: "Figure", left: float, right: float, y: float) -> None:
    """Draw a thin horizontal line between places given as fractions of the figure."""
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D([left, right], [y, y], color="#333333", linewidth=0.5))


def open_axes(axes: "Axes") -> None:
    """Leave of the frame the left and the lower line."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def spaced(axes: "Axes", ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks (place, text) whose labels have room, first and last before all others; widths are in points."""
    width = 72 * axes.get_window_extent().width / axes.figure.dpi
    kept: dict[float, tuple[float, str]] = {}
    for at, text in [ticks[-1], *ticks[:-1]]:
        centre = width * axes.transAxes.inverted().transform(axes.transData.transform((at, 0.0)))[0]
        if all(abs(centre - other) > 2.1 * (len(text) + len(near)) + 3 for other, (_, near) in kept.items()):
            kept[centre] = (at, text)
    return [kept[centre] for centre in sorted(kept)]


def leak_line(axes: "Axes", value: float) -> None:
    """Draw the value of y below which reconstructions are recognisable, and say so to the right of the axes."""
    axes.axhline(value, color=LIMIT, linestyle="--", linewidth=0.9, zorder=2.2)
    axes.annotate(
        f"recognisable\nbelow {value:g}",
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        color=LIMIT,
        fontsize=6.5,
        va="center",
        linespacing=1.0,
    )


def legend_above(
    figure: "Figure", handles: "Sequence[Artist]", columns: int, top: float = 1.0, **spacing: float
) -> float:
    """Draw a legend above all axes, of at most so many columns, and of fewer where it would be wider than the figure.

    top: the height that a legend above it left. spacing: of matplotlib's legend, in multiples of the font size. Returns
    the height left below it (1 is all).
    """
    while True:
        legend = figure.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0, 0, 1, top),
            ncols=columns,
            frameon=False,
            borderaxespad=0.1,
            **spacing,
        )
        box = legend.get_window_extent().transformed(figure.transFigure.inverted())
        if box.width <= 1 or columns == 1:
            return float(top - box.height)
        legend.remove()
        columns -= 1


def file_bytes(figure: "Figure", kind: Literal["pdf", "png"], dpi: int = 300) -> bytes:
    """The figure as a file without dates, random ids or names of programs: the same figure, the same bytes."""
    metadata = (
        {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": "gradleak"}
        if kind == "pdf"
        else {"Software": None}
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def small_png(figure: "Figure", limit: int = 1_000_000) -> bytes:
    """The figure as PNG at 300 dpi, or at the greatest lower resolution that keeps it under `limit` bytes."""
    content = b""
    for dpi in (300, 260, 220, 190, 160, 130, 100, 72):
        content = file_bytes(figure, "png", dpi)
        if len(content) < limit:
            break
    return content


def captioned_files(figure: "Figure", name: str, caption: str) -> dict[str, bytes]:
    """The figure as `<name>.pdf` and, at 200 dpi, `<name>.png`, and its caption as `<name>.txt`."""
    return {
        f"{name}.pdf": file_bytes(figure, "pdf"),
        f"{name}.png": file_bytes(figure, "png", dpi=200),
        f"{name}.txt": f"{caption}\n".encode(),
    }


def image_files(figure: "Figure", name: str = "") -> dict[str, bytes]:
    """The figure as `<name>.pdf` and `<name>.png`."""
    return {f"{name}.pdf": file_bytes(figure, "pdf"), f"{name}.png": small_png(figure)}
