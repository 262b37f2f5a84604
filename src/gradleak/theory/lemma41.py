"""Lemma 4.1: does a gradient determine its input in closed form (Eqs. 6 and 7), and when?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from gradleak.analysis.logit import LEAST, logits
from gradleak.presentations import style
from gradleak.theory.network import ROUTES, Network, aligned, orthogonal_network, random_network
from gradleak.theory.rounding import ROUNDING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = 64
LEAK = 0.2
TRIALS = 8

NETWORKS = {
    "aligned": "orthogonal, last layer along the features",
    "orthogonal": "orthogonal",
    "widening": "64-80-96 units",
    "narrowing": "64-48-32 units",
    "relu": "64-80-96 units, ReLU",
    "batch": "64-80-96 units, batch of two",
}
"""Kinds of networks, by what the three readings of Eq. (7) need; the first one meets every condition."""


def measure(trials: int = TRIALS) -> pd.DataFrame:
    """Invert gradients at random networks and inputs. One row per network, trial, solution of Eq. (6) and route.

    Columns: `network` (see `NETWORKS`), `trial`, `mu` (the true logit; a batch's first), `solution` (`true` or `other`
    where two logits satisfy Eq. 6), `mu_found`, `route` (see `network.ROUTES`), `error` (length of the image's error
    over that of the image) and `gradient_difference` (the same of the gradient at what was found, all layers as one
    vector).
    """
    rows = []
    for name in NETWORKS:
        for trial in range(trials):
            network, x, y = _case(name, trial)
            rows += [{"network": name, "trial": trial, **row} for row in _invert(network, x, y)]
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Median and greatest error and gradient difference per network, route and solution, from `measure`."""
    groups = frame.groupby(["network", "route", "solution"], sort=False)
    return groups.agg(
        cases=("error", "size"),
        error=("error", "median"),
        error_max=("error", "max"),
        gradient_difference=("gradient_difference", "median"),
    ).reset_index()


def _case(name: str, trial: int) -> tuple[Network, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * list(NETWORKS).index(name) + trial)
    x = torch.rand(2 if name == "batch" else 1, SIZE, generator=generator, dtype=torch.float64)
    # Labels alternate, so that positive logits, for which Eq. (6) has two solutions, occur for every network.
    y = torch.tensor([1.0, -1.0], dtype=torch.float64).roll(trial)[: len(x)]
    if name in ("aligned", "orthogonal"):
        network = orthogonal_network(SIZE, 4, LEAK, generator)
        return (aligned(network, x) if name == "aligned" else network), x, y
    hidden = (48, 32) if name == "narrowing" else (80, 96)
    return random_network((SIZE, *hidden), 0.0 if name == "relu" else LEAK, generator), x, y


def _invert(network: Network, x: Tensor, y: Tensor) -> Iterator[dict[str, object]]:
    """Apply every route to every logit that satisfies Eq. (6); of a batch, the routes can only return one image."""
    gradients = network.gradients(x, y)
    mu = float(network.logit(x, y)[0])
    found = logits(network.product(gradients))
    nearest = min(found, key=lambda value: abs(value - mu), default=None)
    for value in found:
        for route, invert in ROUTES.items():
            image = invert(network, gradients, y[:1], value)
            yield {
                "mu": mu,
                "solution": "true" if value == nearest else "other",
                "mu_found": value,
                "route": route,
                "error": float((image - x[:1]).norm() / x[:1].norm()),
                "gradient_difference": _difference(network.gradients(image, y[:1]), gradients),
            }


def _difference(found: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> float:
    first, second = (torch.cat([part.flatten() for part in parts]) for parts in (found, given))
    return float((first - second).norm() / second.norm())


def caption(frame: pd.DataFrame) -> str:
    """The caption; frame as from `measure`."""
    return (
        f"Lemma 4.1: error of the image that the closed form gives, for {frame['trial'].nunique()} random networks and "
        "inputs of each kind, by three readings of Eq. (7). Every point is one inversion. Hollow: the second logit "
        f"that satisfies Eq. (6), which exists where the true one is positive (product between {LEAST:.4f} and 0). "
        f"0 stands for less than {ROUNDING:g}."
    )


_ROUTES = {
    "printed": "Eq. (7) as printed: logit and transposes",
    "inverses": "last layer's gradient, inverses of the layers",
    "gradients": "gradients of all layers",
}


def draw(frame: pd.DataFrame) -> "Figure":
    """One row per network, one line per route; frame as from `measure`. Inside a theme."""
    figure = style.new_figure(style.WIDTHS["page"], 2.7)
    axes = figure.add_axes((0.265, 0.155, 0.725, 0.705))
    places = {name: -float(index) for index, name in enumerate(NETWORKS)}
    for index, (route, text) in enumerate(_ROUTES.items()):
        offset = 0.22 * (1 - index)
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
    powers = (-8, -6, -4, -2, 0, 2, 4)
    axes.set_xticks([ROUNDING, *(10.0**power for power in powers)], ["0", *(f"$10^{{{power}}}$" for power in powers)])
    axes.set_yticks(list(places.values()), [style.wrap(text, 1.7, 7) for text in NETWORKS.values()])
    axes.set_ylim(-len(places) + 0.5, 0.85)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Error of the image, relative to its length")
    style.open_axes(axes)
    figure.legend(loc="upper center", ncols=2, frameon=False, handletextpad=0.3, columnspacing=1.5, borderaxespad=0.1)
    return figure
