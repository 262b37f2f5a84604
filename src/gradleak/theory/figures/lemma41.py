"""Draws the experiment on Lemma 4.1: errors of the image by network and by reading of Eq. (7)."""

import math
from typing import TYPE_CHECKING

import pandas as pd

from gradleak.figures import style
from gradleak.theory.lemma41 import NETWORKS
from gradleak.theory.rounding import ROUNDING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROUTES = {
    "printed": "Eq. (7) as printed: logit and transposes",
    "inverses": "last layer's gradient, inverses of the layers",
    "gradients": "gradients of all layers",
}


def draw(frame: pd.DataFrame) -> "Figure":
    """One row per network, one line per route; frame as from `lemma41.measure`. Inside a theme."""
    figure = style.new_figure(style.WIDTHS["page"], 2.7)
    axes = figure.add_axes((0.265, 0.155, 0.725, 0.705))
    places = {name: -float(index) for index, name in enumerate(NETWORKS)}
    for offset, (route, text) in zip((0.22, 0.0, -0.22), _ROUTES.items(), strict=True):
        index = list(_ROUTES).index(route)
        colour, marker = style.COLOURS[index], style.MARKERS[index]
        for solution, face in (("true", colour), ("other", "white")):
            points = frame[(frame["route"] == route) & (frame["solution"] == solution)]
            axes.plot(
                points["error"].clip(lower=ROUNDING),
                points["network"].map(places) + offset,
                linestyle="",
                marker=marker,
                markersize=4.2,
                color=face,
                markeredgecolor="white" if solution == "true" else colour,
                markeredgewidth=0.4 if solution == "true" else 0.7,
                label=text if solution == "true" else None,
            )
    axes.plot(
        [],
        [],
        linestyle="",
        marker="o",
        color="white",
        markeredgecolor="#555555",
        label="hollow: Eq. (6)'s other logit",
    )
    axes.axvline(1, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=1.5)
    axes.annotate(
        "as large\nas the image",
        (1, 0.6),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=6.5,
        va="center",
        color=style.LIMIT,
        linespacing=1.0,
    )
    for place in list(places.values())[1:]:
        axes.axhline(place + 0.5, color="#E4E4E4", linewidth=0.6, zorder=1)
    axes.set_xscale("log")
    ticks = (1e-8, 1e-6, 1e-4, 1e-2, 1, 1e2, 1e4)
    axes.set_xticks([ROUNDING, *ticks], ["0", *(f"$10^{{{round(math.log10(tick))}}}$" for tick in ticks)])
    axes.set_yticks(list(places.values()), [style.wrap(text, 1.7, 7) for text in NETWORKS.values()])
    axes.set_ylim(-len(places) + 0.5, 0.85)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Error of the image, relative to its length")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="upper center", ncols=2, frameon=False, handletextpad=0.3, columnspacing=1.5, borderaxespad=0.1)
    return figure
