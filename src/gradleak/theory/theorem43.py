"""Theorem 4.3: masks that leave the gradient unchanged if it has fewer entries than the images have pixels."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from gradleak.analysis.logit import logits
from gradleak.presentations import style
from gradleak.theory.convolution import photographs, random_map
from gradleak.theory.mask import find_mask, relative_difference
from gradleak.theory.network import random_network, with_logit
from gradleak.theory.rounding import ROUNDING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RMS = 0.1
"""Root mean square of the masks that are compared, in units of pixels in [0, 1]."""

SERIES: dict[str, tuple[tuple[int, int, tuple[int, int]], ...]] = {
    "model": tuple((1, 16, (4, second)) for second in (1, 3, 4, 5, 7)),
    "batch": tuple((batch, 8, (4, 6)) for batch in (8, 5, 4, 2)),
    "narrow": tuple((1, 16, (3, second)) for second in (2, 6, 10)),
}
"""Batch, side and channels of what is swept: more parameters for one image; a larger batch for one model; the first
with 192 hidden values for 256 pixels."""

SIZES = tuple(10.0**exponent for exponent in (-4, -3, -2, -1, -0.5))
PAIR_SIDE, PAIRS = 20, ((4, 1), (4, 3), (4, 5))
FIRST, SECOND = 28, 29
"""Test images of photos10: the client's (a temple), and the one that masks are to lead to (a flower)."""

BATCH = list(range(8, 168, 10))
"""Test images of photos10 for batches of up to 8 and where their masks are to lead to."""


def sweep() -> pd.DataFrame:
    """Masks of one size across p / (B D). One row per series and case.

    Columns: `series` (see `SERIES`), `batch`, `side`, `channels`, `parameters` (p), `inputs` (B * D), `ratio` of
    both, `rank` of Phi'(x), `rms` of the mask, and the relative change of the gradient by the mask from the null space
    (`first_order`; where there is none, from the direction that changes it least) and after its correction
    (`difference`).
    """
    rows = []
    images = {16: photographs([FIRST, SECOND], 16), 8: photographs(BATCH, 8)}
    for series, cases in SERIES.items():
        for batch, side, channels in cases:
            phi = random_map(batch, side, channels, seed=0)
            x = images[side][:batch].flatten()
            mask = find_mask(phi, x, images[side][batch : 2 * batch].flatten() - x, RMS)
            rows.append(
                {
                    "series": series,
                    "batch": batch,
                    "side": side,
                    "channels": f"{channels[0]}-{channels[1]}",
                    "parameters": phi.p,
                    "inputs": phi.inputs,
                    "ratio": phi.p / phi.inputs,
                    "rank": mask.rank,
                    "rms": float(mask.delta.norm()) / phi.inputs**0.5,
                    "first_order": mask.first_order,
                    "difference": mask.difference,
                }
            )
    return pd.DataFrame(rows)


def sizes() -> pd.DataFrame:
    """How the gradient's difference grows with the mask, where p < B D. One row per `direction` and `rms`.

    `ratio` is p / (B D). Directions: `random`; `image`, multiples of x, to which the paper's proof restricts the mask;
    `null space`, the projection of another photograph; `corrected`, the same led to the level set.
    """
    phi = random_map(1, 16, (4, 3), seed=0)
    x, other = photographs([FIRST, SECOND], 16)
    noise = torch.randn(len(x), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    difference = relative_difference(phi, x)
    rows = []
    for rms in SIZES:
        mask = find_mask(phi, x, other - x, rms)
        length = rms * len(x) ** 0.5
        found = {
            "random": difference(noise * (length / noise.norm())),
            "image": difference(x * (length / x.norm())),
            "null space": mask.first_order,
            "corrected": mask.difference,
        }
        common = {"rms": rms, "ratio": phi.p / phi.inputs}
        rows += [{"direction": name, **common, "difference": value} for name, value in found.items()]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Pair:
    """Images (side, side) that give one gradient: x and x + Delta. ratio: p / (B D)."""

    truth: Tensor
    other: Tensor
    ratio: float
    difference: float

    @property
    def rms(self) -> float:
        """Root mean square of the mask."""
        return float((self.other - self.truth).square().mean().sqrt())


def pairs() -> tuple[Tensor, list[Pair]]:
    """The photograph that masks lead to, and for each of `PAIRS` the nearest image that has x's gradient."""
    found = []
    x, wish = photographs([FIRST, SECOND], PAIR_SIDE)
    shape = (PAIR_SIDE, PAIR_SIDE)
    for channels in PAIRS:
        phi = random_map(1, PAIR_SIDE, channels, seed=0)
        mask = find_mask(phi, x, wish - x)
        found.append(Pair(x.view(shape), (x + mask.delta).view(shape), phi.p / phi.inputs, mask.difference))
    return wish.view(shape), found


def exceptions() -> pd.DataFrame:
    """Cases beside the theorem. One row each, columns `case`, `parameters`, `inputs`, `rms`, `difference`.

    `difference` is relative to the larger of both gradients. Masks although p >= B D: `exchange` swaps two images with
    one label, `brightness` scales an image to Eq. (6)'s other logit. No mask although p < B D: `singular`, the model
    mu = w |x|^2 at x = 0, the only image with a gradient of 0.
    """
    return pd.DataFrame([_exchange(), _brightness(), _singular()])


def _row(case: str, parameters: int, x: Tensor, other: Tensor, first: Tensor, second: Tensor) -> dict[str, object]:
    return {
        "case": case,
        "parameters": parameters,
        "inputs": x.numel(),
        "rms": float((other - x).square().mean().sqrt()),
        "difference": float((first - second).norm() / torch.maximum(first.norm(), second.norm())),
    }


def _exchange() -> dict[str, object]:
    phi = replace(random_map(2, 8, (4, 6), seed=0), labels=torch.ones(2, dtype=torch.float64))
    images = photographs([FIRST, SECOND], 8)
    x, other = images.flatten(), images.flip(0).flatten()
    return _row("exchange", phi.p, x, other, phi(x), phi(other))


def _brightness() -> dict[str, object]:
    x = photographs([FIRST], 8)
    network, y = with_logit(random_network((64, 80, 96), 0.2, torch.Generator().manual_seed(0)), x, 1.0)
    gradients = network.gradients(x, y)
    _, mu = logits(network.product(gradients))
    other = mu * x  # The network is positively homogeneous: mu times the image has mu times the logit, 1.
    first, second = (
        torch.cat([part.flatten() for part in parts]) for parts in (gradients, network.gradients(other, y))
    )
    return _row("brightness", len(first), x, other, first, second)


def _singular() -> dict[str, object]:
    weight = torch.ones((), dtype=torch.float64)
    x, other = torch.zeros(64, dtype=torch.float64), photographs([FIRST], 8).squeeze(0)

    def phi(image: Tensor) -> Tensor:
        square = image @ image
        return (-square * torch.sigmoid(-weight * square)).view(1)

    return _row("singular", 1, x, other, phi(x), phi(other))


def caption(sweep: pd.DataFrame) -> str:
    """The caption; frame as from `sweep`."""
    full = sweep["rank"] >= sweep["inputs"]
    most, least = sweep[~full]["difference"].max(), sweep[full]["difference"].min()
    none = "0" if most < ROUNDING else f"at most {most:.0e}"
    return (
        "Theorem 4.3 on small convolutional networks with p parameters. Above: different images with one gradient, "
        "found by projecting the difference to another photograph on the null space of the Jacobian and following the "
        "level set; RMS in units of pixels in [0, 1], pictures clipped. (a) Change of the gradient by masks of several "
        f"sizes. (b) The least change found for masks of {RMS:g} RMS: {none} where the Jacobian's rank is "
        f"below BD, at least {least:.0e} where it is BD. Networks with a narrow layer have masks beyond p = BD. 0 "
        f"stands for less than {ROUNDING:g}."
    )


_SERIES = {
    "model": "one image, more channels",
    "batch": "one model, larger batch",
    "narrow": "192 values for 256 pixels",
}

_DIRECTIONS = {
    "image": r"$\varepsilon\mathbf{x}$, as in the proof",
    "random": "random",
    "null space": r"null space of $\Phi'(\mathbf{x})$",
    "corrected": "corrected",
}


def draw(wish: Tensor, pairs: list[Pair], sizes: pd.DataFrame, sweep: pd.DataFrame) -> "Figure":
    """Above: x, what has its gradient, and where the mask leads to. Below: two panels. Inside a theme."""
    figure = style.new_figure(style.WIDTHS["page"], 4.0)
    _draw_pictures(figure, wish, pairs)
    grid = figure.add_gridspec(1, 2, left=0.08, right=0.99, bottom=0.1, top=0.51, wspace=0.27)
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    _draw_sizes(left, sizes)
    _draw_sweep(right, sweep)
    for axes in (left, right):
        style.open_axes(axes)
    return figure


def _draw_pictures(figure: "Figure", wish: Tensor, pairs: list[Pair]) -> None:
    shown = [
        (pairs[0].truth, r"$\mathbf{x}$", ""),
        *((pair.other, rf"$\mathbf{{x}}+\Delta$, $p={pair.ratio:.2f}\,BD$", _below(pair)) for pair in reversed(pairs)),
        (wish, r"what $\Delta$ aims at", ""),
    ]
    grid = figure.add_gridspec(1, len(shown), left=0.02, right=0.98, bottom=0.675, top=0.945, wspace=0.1)
    for column, (image, above, below) in enumerate(shown):
        axes = figure.add_subplot(grid[column])
        axes.imshow(image.clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.set_title(above, pad=3)
        axes.set_xlabel(below, fontsize=7, labelpad=2)


def _below(pair: Pair) -> str:
    same = "same gradient" if pair.difference < ROUNDING else f"gradient off by {pair.difference:.0e}"
    return f"mask {pair.rms:.2f} RMS\n{same}"


def _draw_sizes(axes: "Axes", sizes: pd.DataFrame) -> None:
    for index, (name, text) in enumerate(_DIRECTIONS.items()):
        points = sizes[sizes["direction"] == name]
        _plot(axes, points["rms"], points["difference"], index, "-", text)
    axes.set_xscale("log")
    axes.set_xlabel(r"Mask $\Delta$ (RMS, pixels in [0, 1])")
    axes.set_title(rf"(a) $p={sizes['ratio'].iloc[0]:.2f}\,BD$", pad=3)
    _finish(axes)


def _draw_sweep(axes: "Axes", sweep: pd.DataFrame) -> None:
    for index, (name, text) in enumerate(_SERIES.items()):
        points = sweep[sweep["series"] == name].sort_values("ratio")
        _plot(axes, points["ratio"], points["difference"], index, style.DASHES[index], text)
    axes.axvline(1, color=style.LIMIT, linestyle="--", linewidth=0.9, zorder=1.5)
    axes.annotate(
        "$p=BD$", (1, 3e-2), xytext=(-3, 0), textcoords="offset points", color=style.LIMIT, fontsize=7, ha="right"
    )
    axes.set_xlabel("$p\\,/\\,BD$")
    axes.set_title(f"(b) Masks of {RMS:g} RMS", pad=3)
    _finish(axes)


def _plot(axes: "Axes", x: pd.Series, y: pd.Series, index: int, dash: object, text: str) -> None:
    axes.plot(
        x,
        y.clip(lower=ROUNDING),
        color=style.COLOURS[index],
        marker=style.MARKERS[index],
        linestyle=dash,
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=text,
    )


def _finish(axes: "Axes") -> None:
    axes.set_yscale("log")
    axes.set_ylim(ROUNDING / 8, 8)
    powers = (-8, -6, -4, -2, 0)
    axes.set_yticks([ROUNDING, *(10.0**power for power in powers)], ["0", *(f"$10^{{{power}}}$" for power in powers)])
    axes.set_ylabel("Change of the gradient, relative")
    legend = axes.legend(frameon=False, handlelength=2.2, handletextpad=0.4, labelspacing=0.25, loc="lower right")
    legend.set_bbox_to_anchor((1, 0.06), transform=axes.transAxes)
