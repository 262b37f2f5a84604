"""Figure 3, computed: the product of Eq. (6) over the logit, and what updates of several steps make of a photograph."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradleak.analysis.logit import LEAST, TURN, logits, product, sensitivity
from gradleak.presentations import style
from gradleak.theory.convolution import photographs
from gradleak.theory.network import inverses, random_network, with_logit
from gradleak.theory.theorem42 import rate_unit, relative_errors, updates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, LOGIT, RATE, STEPS = 24, -0.5, 0.3, (1, 2, 4, 8)
WIDTHS = (SIDE**2, 600, 624)
PHOTOGRAPH = 28


@dataclass(frozen=True)
class Example:
    """One image, inverted from updates of U steps.

    points: columns `U`, `product` (the update's, Eq. 16), `mu` (the logit found), `mu_predicted` (Eq. 9), `along` and
    `across`: relative error along the image and across it. truth: image (side, side); found: those of `STEPS`.
    """

    points: pd.DataFrame
    truth: Tensor
    found: list[Tensor]


def example() -> Example:
    """Train a network of `WIDTHS` on one photograph and invert its updates."""
    x = photographs([PHOTOGRAPH], SIDE)
    generator = torch.Generator().manual_seed(1)
    network, y = with_logit(random_network(WIDTHS, 0.2, generator), x, LOGIT)
    lr = RATE / rate_unit(network, x, y)
    rows, images = [], []
    for steps, update in enumerate(updates(network, x, y, lr, max(STEPS)), start=1):
        if steps not in STEPS:
            continue
        value = network.product(update)
        mu = logits(value)[0]
        image = inverses(network, update, y, mu)
        found = {"product": value, "mu": mu, "mu_predicted": _predicted(value)}
        rows.append({"U": steps, **found, **relative_errors(image, x)})
        images.append(image.view(SIDE, SIDE))
    return Example(pd.DataFrame(rows).drop(columns="error"), x.view(SIDE, SIDE), images)


def _predicted(value: float) -> float:
    """The logit that Eq. (9) predicts for a product."""
    return LOGIT + sensitivity(LOGIT, value - product(LOGIT))


def caption() -> str:
    """The caption of Figure 3."""
    units = "-".join(map(str, WIDTHS))
    return (
        "Figure 3, computed: dependence between gradient, logit and input. A client takes U full-batch steps on one "
        f"photograph of {SIDE} x {SIDE} pixels ({units} units, leaky ReLU, true logit {LOGIT:g}, rate "
        f"{RATE:g}); the closed form is applied to the whole update. Left: the logits that Eq. (16) gives, and what "
        f"Eq. (9) predicts on the tangent; no logit has a product below {LEAST:.4f}. Right: the images found, clipped "
        "to [0, 1], and below them the same divided by their brightness; content: what differs from the true "
        "image after that, relative to its length."
    )


_LOW, _HIGH, _FLOOR = -2.6, 4.0, -0.5


def draw(example: Example) -> "Figure":
    """Left: G with the logits that updates of U steps give. Right: the images that belong to them. Inside a theme."""
    figure = style.new_figure(style.WIDTHS["page"], 2.45)
    columns = len(example.found)
    grid = figure.add_gridspec(
        2,
        columns + 1,
        width_ratios=[2.15, *[1] * columns],
        left=0.072,
        right=0.995,
        top=0.9,
        bottom=0.165,
        wspace=0.07,
        hspace=0.07,
    )
    axes = figure.add_subplot(grid[:, 0])
    _draw_curve(axes, example)
    # The pictures stand apart from the curve.
    box = axes.get_position()
    axes.set_position((box.x0, box.y0, box.width - 0.055, box.height))
    for column, (image, point) in enumerate(zip(example.found, example.points.to_dict("records"), strict=True)):
        scale = 1 + point["along"]
        for row, (shown, text) in enumerate(((image, "as found"), (image / scale, "brightness\nset right"))):
            axes = figure.add_subplot(grid[row, column + 1])
            axes.imshow(shown.clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            if column == 0:
                axes.set_ylabel(text, fontsize=7, labelpad=3)
            if row == 0:
                title = r"$U=1$: $\mathbf{x}^{*}$" if point["U"] == 1 else rf"$U={point['U']}$"
                axes.set_title(title, pad=3, color=style.COLOURS[column])
            else:
                axes.set_xlabel(
                    f"brightness $\\times${scale:.2f}\ncontent off by {point['across'] / scale:.2f}", fontsize=7
                )
    return figure


def _draw_curve(axes: "Axes", example: Example) -> None:
    mus = np.linspace(_LOW, _HIGH, 241)
    axes.axhspan(_FLOOR, LEAST, color=style.LIMIT, alpha=0.1, linewidth=0, zorder=1)
    axes.text(_LOW + 0.12, (_FLOOR + LEAST) / 2, "no logit gives this", color=style.LIMIT, fontsize=7, va="center")
    axes.plot(mus, [product(float(mu)) for mu in mus], color="#333333", zorder=2)
    top = product(_LOW)
    axes.plot(
        [_predicted(top), _predicted(LEAST)], [top, LEAST], color="#888888", linestyle="--", linewidth=0.8, zorder=1.9
    )
    axes.text(
        -0.15,
        1.5,
        "dashed: tangent at $\\mu^{*}$\nhollow: predicted by Eq. (9)",
        fontsize=7,
        color="#555555",
        va="center",
    )
    for index, point in enumerate(example.points.to_dict("records")):
        colour, marker = style.COLOURS[index], style.MARKERS[index]
        axes.plot([point["mu_predicted"], point["mu"]], [point["product"]] * 2, color=colour, linewidth=0.8, zorder=2.5)
        axes.plot(
            point["mu_predicted"], point["product"], marker=marker, color="white", markeredgecolor=colour, zorder=3
        )
        axes.plot(point["mu"], point["product"], marker=marker, color=colour, markeredgecolor="white", zorder=3.1)
        name = r"$\mu^{*}$" if point["U"] == 1 else rf"$U={point['U']}$"
        axes.annotate(
            name, (point["mu"], point["product"]), xytext=(5, 3), textcoords="offset points", fontsize=7.5, color=colour
        )
    axes.plot(TURN, LEAST, marker="|", color="#333333", markersize=5, zorder=3)
    axes.annotate(
        rf"least: $\mu={TURN:.2f}$",
        (TURN, LEAST),
        xytext=(4, -9),
        textcoords="offset points",
        fontsize=7,
        ha="left",
    )
    axes.set(xlim=(_LOW, _HIGH), ylim=(_FLOOR, top))
    axes.set_xlabel(r"Logit $\mu$")
    axes.set_ylabel(
        r"$\frac{\partial \ell}{\partial \mathbf{W}_L}\cdot\mathbf{W}_L=\frac{-\mu}{1+e^{\mu}}$", fontsize=9
    )
    style.open_axes(axes)
