"""Draws Figure 1: the surveyed attacks by year and strategy, with milestones."""

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from gradleak.presentations import style
from gradleak.survey.schema import Survey, SurveyedAttack
from gradleak.survey.shapes import INK, PALE, canvas, rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of the highest level that an attack assumes: 0 to 5, light to dark, the malicious in the colour of limits.
SHADES = ("#DCEAF7", "#B3D1EC", "#F6D9A0", "#EDB458", "#C98A1B", "#C1272D")
LANES = {"GIA-O": "observable space", "GIA-L": "latent space", "GIA-A": "analytic"}

_SHORT = {
    "Basic information": "basic",
    "Priors": "priors",
    "Data distribution": "distribution",
    "Client-side training details": "client details",
    "Malicious behavior": "malicious",
}

# Inches: the lanes' names, a line of text, the room between lanes, the years' heading, the legend.
_SIDE, _LINE, _BETWEEN, _HEAD, _FOOT = 0.86, 0.138, 0.1, 0.2, 0.26
_SIZE, _SMALL = 6.8, 5.8


def draw(survey: Survey) -> "Figure":
    """One column per year, one lane per strategy; an attack with two strategies stands in both. Inside a theme."""
    places = _places(survey)
    years = sorted({attack.year for attack in survey.attacks})
    depths = {lane: max(_lines(places[lane, year]) for year in years) for lane in LANES}
    width = style.WIDTHS["page"]
    height = _HEAD + sum(_LINE * depth + _BETWEEN for depth in depths.values()) + _FOOT + 0.04
    figure, axes = canvas(width, height)
    column = (width - _SIDE - 0.02) / len(years)
    for index, year in enumerate(years):
        x = _SIDE + (index + 0.5) * column
        axes.text(x, height - _HEAD / 2, str(year), ha="center", va="center", fontsize=8, fontweight="bold")
    top = height - _HEAD
    for lane in LANES:
        bottom = top - _LINE * depths[lane] - _BETWEEN
        _draw_lane(axes, lane, (top, bottom), width, len([a for a in survey.attacks if lane in (a.strategy or ())]))
        for index, year in enumerate(years):
            _draw_attacks(axes, places[lane, year], _SIDE + index * column, top - _BETWEEN / 2, column)
        top = bottom
    for index in range(1, len(years)):
        x = _SIDE + index * column
        axes.plot([x, x], [_FOOT + 0.06, height - 0.03], color="white", linewidth=1.2, zorder=1.2)
    _draw_legend(axes, survey)
    return figure


def _places(survey: Survey) -> dict[tuple[str, int], list[SurveyedAttack]]:
    places: dict[tuple[str, int], list[SurveyedAttack]] = defaultdict(list)
    for attack in survey.attacks:
        for lane in attack.strategy or ():
            places[lane, attack.year].append(attack)
    return places


def _lines(attacks: list[SurveyedAttack]) -> int:
    return sum(2 if attack.milestone else 1 for attack in attacks)


def _draw_lane(axes: "Axes", lane: str, extent: tuple[float, float], width: float, count: int) -> None:
    from matplotlib.patches import Rectangle

    top, bottom = extent
    axes.add_patch(Rectangle((0.02, bottom + 0.02), width - 0.04, top - bottom - 0.04, facecolor=PALE, linewidth=0))
    middle = (top + bottom) / 2
    axes.text(0.09, middle + 0.03, lane, fontsize=8, fontweight="bold", va="bottom")
    axes.text(0.09, middle + 0.01, f"{LANES[lane]}\n{count} attacks", fontsize=_SMALL + 0.5, va="top", linespacing=1.1)


def _draw_attacks(axes: "Axes", attacks: list[SurveyedAttack], left: float, top: float, column: float) -> None:
    write = partial(axes.text, va="center_baseline", zorder=3)
    y = top - _LINE / 2
    for attack in attacks:
        level = max(attack.assumptions) if attack.assumptions else 0
        colour = "white" if level == len(SHADES) - 1 else INK
        x, width = left + 0.05, column - 0.1
        rounded(
            axes,
            (x, y - 0.058),
            (width, 0.118),
            0.03,
            facecolor=SHADES[level],
            edgecolor=INK if attack.implemented else "none",
            linewidth=0.8,
            linestyle="--" if attack.implemented and attack.implemented.without else "-",
        )
        write(x + 0.05, y + 0.004, attack.label, fontsize=_SIZE, color=colour)
        kinds = "".join({"NLP": "T", "Tabular": "#"}.get(kind, "") for kind in attack.modality or ())
        write(x + width - 0.04, y + 0.004, kinds, fontsize=_SMALL, ha="right", color=colour)
        y -= _LINE
        if attack.milestone:
            write(x + 0.05, y + 0.012, attack.milestone.text, fontsize=_SMALL, style="italic", color="#444444")
            y -= _LINE


def _draw_legend(axes: "Axes", survey: Survey) -> None:
    x, y = 0.06, _FOOT / 2
    axes.text(x, y, "Highest assumption:", fontsize=6.5, va="center_baseline")
    x += style.text_width("Highest assumption:", 6.5) + 0.07
    entries = [
        (SHADES[level], "none", "-", f"{level} {_SHORT.get(entry.name, entry.name)}")
        for level, entry in sorted(survey.assumptions.items())
    ]
    entries += [("white", INK, "-", "implemented here"), ("white", INK, "--", "in part")]
    for face, edge, dash, text in entries:
        rounded(axes, (x, y - 0.035), (0.11, 0.08), 0.02, facecolor=face, edgecolor=edge, linestyle=dash, linewidth=0.8)
        axes.text(x + 0.15, y, text, fontsize=6.5, va="center_baseline")
        x += 0.15 + style.text_width(text, 6.5) + 0.065
    axes.text(x, y, "T: text  #: tables", fontsize=6.5, va="center_baseline")
