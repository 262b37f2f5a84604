"""Where a gallery puts its pictures and texts."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from gradleak.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches: a picture at most; the gaps between pictures, beside the column of victims and between row groups; the space
# for an LPIPS below a picture; a row label at most; one line of text.
TILE, GAP, ASIDE, BETWEEN, FOOT, LABEL, TEXT = 0.66, 0.05, 0.14, 0.08, 0.16, 1.25, 0.13
_SIZE, _SCORE_SIZE, _LEAST_SIZE = 8.0, 7.0, 5.0

Row = tuple[object, ...]


@dataclass(frozen=True)
class Line:
    """One line of pictures by column.

    label: text to its left, which lines in succession with the same `group` share; scores: texts below; victim:
    picture of the victim's own column.
    """

    group: int
    label: str
    pictures: dict[object, bytes]
    scores: dict[object, str]
    victim: bytes | None = None


def shared(pairs: pd.DataFrame, rows: list[str]) -> bool:
    """Whether the columns of every row group attack the same victims."""
    return bool((pairs.groupby([*rows, "victim"], sort=False)["truth_png"].nunique() == 1).all())


def to_lines(
    pairs: pd.DataFrame, rows: list[str], column: str, columns: list[object], names: dict[Row, str]
) -> list[Line]:
    """The lines of a gallery from top to bottom; `pairs` as from `gallery_pairs`, `names` labels row groups.

    With shared victims, one line per row group and victim. Otherwise a line of victims, below it one line per row
    group; row groups in succession share a line of victims that is right for both.
    """
    found: dict[Row, dict[int, dict[object, dict[str, Any]]]] = {}
    for pair in pairs.to_dict("records"):
        entries = found.setdefault(tuple(pair[key] for key in rows), {}).setdefault(pair["victim"], {})
        entries[pair[column]] = {str(key): value for key, value in pair.items()}
    if shared(pairs, rows):
        return [
            _line(group, names.get(row, ""), entries, columns, next(iter(entries.values()))["truth_png"])
            for group, (row, victims) in enumerate(found.items())
            for entries in victims.values()
        ]
    lines: list[Line] = []
    for run in _runs(found):
        for victim in range(max(len(found[row]) for row in run)):
            entries = {key: entry for row in run for key, entry in found[row].get(victim, {}).items()}
            truths = {key: entries[key]["truth_png"] for key in columns if key in entries}
            lines.append(Line(len(lines), "Victim", truths, {}))
            for row in run:
                if victim in found[row]:
                    name = names.get(row) or "Reconstruction"
                    lines.append(_line(len(lines), name, found[row][victim], columns))
    return lines


def draw(lines: list[Line], columns: list[object], headings: list[str], title: str) -> "Figure":
    """The figure: a row label, the victim's own column where there is one, and the columns under their headings."""
    aside = any(line.victim is not None for line in lines)
    labels = {line.group: style.wrap(line.label, LABEL, _SIZE) for line in lines}
    texts = [text for label in labels.values() for text in label.splitlines()]
    left = 0.13 + max(style.text_width(text, _SIZE) for text in texts) if texts else 0.02
    room = style.WIDTHS["page"] - left - (TILE + ASIDE if aside else 0.0)
    word = max(style.text_width(part, _SIZE) for text in headings for part in style.wrap(text, 0, _SIZE).splitlines())
    pitch = min(max(TILE, word + 0.02) + GAP, room / len(columns))
    tile = min(TILE, pitch - GAP)
    size = max(_LEAST_SIZE, min(_SIZE, _SIZE * (pitch - 0.02) / word))
    headings = [style.wrap(text, pitch - 0.02, size) for text in headings]

    # Places from the left and from the top, in inches; a title wider than its columns needs room on both sides.
    first = left + (tile + ASIDE if aside else 0.0) + (pitch - GAP - tile) / 2
    half = style.text_width(title, _SIZE) / 2 + 0.03
    middle = first + ((len(columns) - 1) * pitch + tile) / 2
    first, middle = first + max(0.0, half - middle), max(half, middle)
    width = max(middle + half, 2 * middle - first + (pitch - GAP - tile) / 2) + 0.02
    rule = 0.03 + TEXT + 0.02
    head = rule + 0.04 + TEXT * max(text.count("\n") + 1 for text in headings) + 0.02
    tops: list[float] = []
    below = head
    several = len(labels) < len(lines)
    for i, line in enumerate(lines):
        # A line of victims belongs to what is below it, a row label of several lines holds these together.
        new = i > 0 and (several and line.group != lines[i - 1].group if aside else not line.scores)
        tops.append(below + (BETWEEN if new else 0.0))
        below = tops[-1] + tile + (FOOT if line.scores else GAP)
    height = below + 0.02
    figure = style.new_figure(width, height)

    def write(x: float, y: float, text: str, points: float, **align: Any) -> None:
        figure.text(x / width, 1 - y / height, text, fontsize=points, linespacing=1.05, **align)

    def show(png: bytes, x: float, top: float) -> None:
        _tile(figure, png, x / width, 1 - (top + tile) / height, tile)

    write(middle, 0.03, title, _SIZE, ha="center", va="top")
    end = 2 * middle - first
    style.rule(figure, first / width, end / width, 1 - rule / height)
    places = {column: first + j * pitch for j, column in enumerate(columns)}
    own = first - ASIDE - tile - (pitch - GAP - tile) / 2
    if aside:
        write(own + tile / 2, head - 0.05, "Victim", _SIZE, ha="center", va="baseline")
    for column, text in zip(columns, headings, strict=True):
        write(places[column] + tile / 2, head - 0.05, text, size, ha="center", va="baseline")
    for line, top in zip(lines, tops, strict=True):
        for column, png in line.pictures.items():
            show(png, places[column], top)
        for column, text in line.scores.items():
            points = min(_SCORE_SIZE, _SCORE_SIZE * (pitch - 0.02) / style.text_width(text, _SCORE_SIZE))
            write(places[column] + tile / 2, top + tile + 0.025, text, points, ha="center", va="top")
        if line.victim is not None:
            show(line.victim, own, top)
    side = own if aside else first - (pitch - GAP - tile) / 2
    for group, label in labels.items():
        of_group = [top for line, top in zip(lines, tops, strict=True) if line.group == group]
        write(side - 0.07, (of_group[0] + of_group[-1] + tile) / 2, label, _SIZE, ha="right", va="center")
    return figure


def _runs(found: dict[Row, dict[int, dict[object, dict[str, Any]]]]) -> list[list[Row]]:
    """Row groups in succession whose victims agree wherever both have one."""
    runs: list[list[Row]] = []
    known: dict[tuple[int, object], bytes] = {}
    for row, victims in found.items():
        own = {(i, key): entry["truth_png"] for i, entries in victims.items() for key, entry in entries.items()}
        if runs and all(known.get(place, png) == png for place, png in own.items()):
            runs[-1].append(row)
            known |= own
        else:
            runs.append([row])
            known = own
    return runs


def _line(
    group: int, label: str, entries: dict[object, dict[str, Any]], columns: list[object], victim: bytes | None = None
) -> Line:
    here = [column for column in columns if column in entries]
    pictures = {column: entries[column]["reconstruction_png"] for column in here}
    scores = {column: f"{entries[column]['lpips']:.4f}" for column in here}
    return Line(group, label, pictures, scores, victim)


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
