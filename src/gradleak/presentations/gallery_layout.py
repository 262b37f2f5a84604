"""Where a gallery puts its pictures and texts."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.presentations.gallery_lines import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches: a picture at most; the gaps between pictures, between a picture and the victim beside it, beside the column
# of victims, between row groups and between panels; the space for a text below a picture; a row label at most; one
# line of text.
TILE, GAP, NEAR, ASIDE, BETWEEN, APART, FOOT, LABEL, TEXT = 0.66, 0.05, 0.02, 0.14, 0.08, 0.16, 0.16, 1.25, 0.13

_SIZE, _SCORE_SIZE, _LEAST_SIZE = 8.0, 7.0, 5.0

_LEAST_TILE = 0.15


@dataclass(frozen=True)
class _Scale:
    """Sizes that all panels share, in inches: a picture, a column's pictures, from column to column; headings in
    points.
    """

    tile: float
    block: float
    pitch: float
    points: float

    @property
    def slack(self) -> float:
        """Room of a column on each side of its pictures."""
        return (self.pitch - GAP - self.block) / 2


@dataclass(frozen=True)
class _Spot:
    """Where a panel stands, in inches from the left: its row labels' right end, the column of victims, its first and
    last picture, the middle of these, and the panel's end.
    """

    side: float
    own: float
    first: float
    last: float
    middle: float
    end: float


def draw_panels(panels: list[Panel]) -> "Figure":
    """The figure: panels from left to right, each with row labels (where the panel before has others), the victim's
    own column where there is one, and its columns under their headings and its title.
    """
    aside = any(line.victim is not None for panel in panels for line in panel.lines)
    labels = [_labels(panel) for panel in panels]
    shown = [own if i == 0 or own != labels[i - 1] else {} for i, own in enumerate(labels)]
    lefts = [_label_width(own, 0.02 if i == 0 else 0.0) for i, own in enumerate(shown)]
    fixed = sum(lefts) + APART * (len(panels) - 1) + (TILE + ASIDE if aside else 0.0) * len(panels)
    scale = _scale(panels, style.WIDTHS["page"] - fixed)
    spots: list[_Spot] = []
    for panel, left in zip(panels, lefts, strict=True):
        spots.append(_spot(panel, (spots[-1].end + APART if spots else 0.0), left, scale, aside))
    width = spots[-1].end + 0.02

    # Places from the top, in inches.
    headings = [[style.wrap(text, scale.pitch - 0.02, scale.points) for text in panel.headings] for panel in panels]
    rule = 0.03 + TEXT + 0.02
    head = rule + 0.04 + TEXT * max(text.count("\n") + 1 for texts in headings for text in texts) + 0.02
    tops = [_tops(panel, head, scale.tile) for panel in panels]
    height = max(bottom for _, bottom in tops) + 0.02
    sheet = _Sheet(width, height, scale)
    for i, (panel, spot) in enumerate(zip(panels, spots, strict=True)):
        sheet.write(spot.middle, 0.03 + 0.75 * TEXT, panel.title, _SIZE, ha="center", va="baseline")
        sheet.rule(spot.first, spot.last, rule)
        if aside:
            sheet.write(spot.own + scale.tile / 2, head - 0.05, "Victim", _SIZE, ha="center", va="baseline")
        sheet.panel(panel, spot, headings[i], head, tops[i][0])
        for group, label in shown[i].items():
            of_group = [top for line, top in zip(panel.lines, tops[i][0], strict=True) if line.group == group]
            middle = (of_group[0] + of_group[-1] + scale.tile) / 2
            sheet.write(spot.side - 0.07, middle, label, _SIZE, ha="right", va="center")
    return sheet.figure


class _Sheet:
    """A figure that takes places in inches from its upper left corner."""

    def __init__(self, width: float, height: float, scale: _Scale) -> None:
        self.figure = style.new_figure(width, height)
        self._width, self._height, self._scale = width, height, scale

    def write(self, x: float, y: float, text: str, points: float, **align: Any) -> None:
        self.figure.text(x / self._width, 1 - y / self._height, text, fontsize=points, linespacing=1.05, **align)

    def rule(self, left: float, right: float, y: float) -> None:
        style.rule(self.figure, left / self._width, right / self._width, 1 - y / self._height)

    def panel(self, panel: Panel, spot: _Spot, headings: list[str], head: float, tops: list[float]) -> None:
        """Headings, pictures and the texts under them."""
        scale = self._scale
        places = {column: spot.first + j * scale.pitch for j, column in enumerate(panel.columns)}
        for column, text in zip(panel.columns, headings, strict=True):
            self.write(places[column] + scale.block / 2, head - 0.05, text, scale.points, ha="center", va="baseline")
        right = scale.block - scale.tile
        room = scale.pitch - 0.02 if not right else scale.tile
        for line, top in zip(panel.lines, tops, strict=True):
            for column, png in line.pictures.items():
                self._show(png, places[column] + right, top)
            for column, png in line.beside.items():
                self._show(png, places[column], top)
            for column, text in line.below.items():
                self._under(places[column] + right, top, text, room)
            for column, text in line.beside_below.items():
                self._under(places[column], top, text, room)
            if line.victim is not None:
                self._show(line.victim, spot.own, top)
                self._under(spot.own, top, line.victim_below, scale.tile + ASIDE - 0.04)

    def _show(self, png: bytes, x: float, top: float) -> None:
        tile = self._scale.tile
        _tile(self.figure, png, x / self._width, 1 - (top + tile) / self._height, tile)

    def _under(self, x: float, top: float, text: str, room: float) -> None:
        """Write a text below a picture, smaller where it is wider than its room."""
        if text:
            points = min(_SCORE_SIZE, _SCORE_SIZE * room / style.text_width(text, _SCORE_SIZE))
            tile = self._scale.tile
            self.write(x + tile / 2, top + tile + 0.025 + 0.6 * TEXT, text, points, ha="center", va="baseline")


def _labels(panel: Panel) -> dict[int, str]:
    return {line.group: style.wrap(line.label, LABEL, _SIZE) for line in panel.lines}


def _label_width(labels: dict[int, str], none: float) -> float:
    texts = [text for label in labels.values() for text in label.splitlines()]
    return 0.13 + max(style.text_width(text, _SIZE) for text in texts) if texts else none


def _scale(panels: list[Panel], room: float) -> _Scale:
    """The largest pictures, at most `TILE`, with which the columns of all panels fit into a room in inches."""
    words = [part for panel in panels for text in panel.headings for part in style.wrap(text, 0, _SIZE).splitlines()]
    word = max(style.text_width(part, _SIZE) for part in words)
    beside = any(line.beside for panel in panels for line in panel.lines)
    gap = ASIDE if beside else GAP
    block = 2 * TILE + NEAR if beside else TILE
    pitch = min(max(block, word + 0.02) + gap, room / sum(len(panel.columns) for panel in panels))
    tile = min(TILE, (pitch - gap - NEAR) / 2 if beside else pitch - gap)
    if tile < _LEAST_TILE:
        count = sum(len(panel.columns) for panel in panels)
        raise UserError(f"a gallery of {count} columns does not fit on a page; show fewer (swap rows and columns)")
    points = max(_LEAST_SIZE, min(_SIZE, _SIZE * (pitch - 0.02) / word))
    return _Scale(tile, 2 * tile + NEAR if beside else tile, pitch, points)


def _spot(panel: Panel, start: float, left: float, scale: _Scale, aside: bool) -> _Spot:
    """Where a panel stands that starts at a place and has row labels of a width; a title wider than its columns needs
    room on both sides.
    """
    first = start + left + (scale.tile + ASIDE if aside else 0.0) + scale.slack
    half = style.text_width(panel.title, _SIZE) / 2 + 0.03
    middle = first + ((len(panel.columns) - 1) * scale.pitch + scale.block) / 2
    first, middle = first + max(0.0, start + half - middle), max(start + half, middle)
    last = 2 * middle - first
    own = first - ASIDE - scale.tile - scale.slack
    side = own if aside else first - scale.slack
    return _Spot(side, own, first, last, middle, max(middle + half, last + scale.slack))


def _tops(panel: Panel, head: float, tile: float) -> tuple[list[float], float]:
    """Where the lines of a panel start, and where the last one ends."""
    tops: list[float] = []
    below = head
    lines = panel.lines
    several = len({line.group for line in lines}) < len(lines)
    for i, line in enumerate(lines):
        # A line of victims belongs to what is below it, a row label of several lines holds these together.
        new = i > 0 and (line.leads or (several and line.group != lines[i - 1].group))
        tops.append(below + (BETWEEN if new else 0.0))
        below = tops[-1] + tile + (FOOT if line.has_text else GAP)
    return tops, below


def _tile(figure: "Figure", png: bytes, x: float, y: float, size: float) -> None:
    """Draw a PNG with its corner at a place (fractions of the figure) and `size` inches wide.

    Pixels stay sharp squares; where there are more of them than 300 dpi can show, they are averaged.
    """
    width, height = figure.get_size_inches()
    axes = figure.add_axes((x, y, size / width, size / height))
    axes.set_axis_off()
    pixels = round(300 * size)
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGB")
    if picture.width > pixels:
        picture = picture.resize((pixels, pixels), Image.Resampling.BOX)
    axes.imshow(np.asarray(picture), interpolation="nearest")
