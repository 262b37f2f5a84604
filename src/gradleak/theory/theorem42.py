"""Theorem 4.2: the closed form applied to an update of several steps, measured beside Eqs. (8) and (9)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pandas as pd
import torch
from torch import Tensor

from gradleak.analysis.logit import LEAST, logits, product, sensitivity
from gradleak.presentations import style
from gradleak.theory.network import Network, aligned, inverses, orthogonal_network, printed, random_network, with_logit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SIZE, HIDDEN, LEAK = 32, (40, 48), 0.2
STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
LOGITS = (-2.0, -0.5, 0.05)
RATES = (0.01, 0.3, 3.0)
STARTS = (0.02, 0.04, 0.07, 0.14, 0.3, 0.6)
TRIALS, MOST = 4, 32
NETWORKS = ("aligned", "widening")
ADVERSARIES = ("sum", "mean")


def measure(trials: int = TRIALS) -> pd.DataFrame:
    """Train U full-batch steps on one image and invert the update.

    One row per network, logit, rate, trial, U and adversary.

    `network`: `aligned` meets the conditions of Eq. (8) (route `network.printed`), `widening` is generic (route
    `network.inverses`). `mu`: the true logit. `rate`: learning rate times |d mu / d W|^2 at W^0, so that the first step
    raises the logit by about rate / (1 + e^mu). `adversary`: `sum` takes the whole update for one gradient, as the
    theorem does, `mean` knows U and divides by it.

    Measured: `product` (what Eq. 16 has on its right), `solvable` (whether any logit satisfies Eq. 16), and where one
    does, `mu_found` (the solution nearest to the truth, as a lucky adversary would choose), `error` of the image
    relative to its length, and the parts of this error `along` the image (signed: brightness) and `across` it
    (content). Predicted: `mu_predicted` by Eq. (9), `error_eq8` by Eq. (8) with the logit found, `error_eq9` by Eqs.
    (8) and (9).
    """
    rows = []
    for name in NETWORKS:
        # The length of the aligned network's last layer is fixed, so its logit is set by the image's length.
        for mu in LOGITS:
            for rate in RATES:
                for trial in range(trials):
                    network, x, y = _case(name, mu, trial)
                    lr = rate / rate_unit(network, x, y)
                    keys = {"network": name, "mu": mu, "rate": rate, "trial": trial}
                    rows += [{**keys, **row} for row in _follow(network, x, y, lr, mu)]
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Medians over trials of what was measured and predicted, from `measure`, and the share of trials with a solution.

    Where some trial has no solution, what was measured is NaN: no average runs over survivors.
    """
    keys, found = ["network", "mu", "rate", "adversary", "U"], ["error_eq8", "error", "along", "across"]
    groups = frame.groupby(keys, sort=False)
    table = groups[["error_eq9", *found]].median()
    share = groups["solvable"].mean()
    table[found] = table[found].where(share == 1)
    return table.assign(solvable=share).reset_index()


def limits(trials: int = TRIALS) -> pd.DataFrame:
    """The greatest U for which Eq. (16) has a solution, by logit and rate. One row per `mu`, `rate` and `trial`.

    `steps`: the greatest U (at most `MOST`) up to which the summed product stays at or above the least value of
    Eq. (6). `steps_slow`: the same in the limit of a rate of 0, where every step has the same gradient.
    """
    rows = []
    for mu in STARTS:
        slow = min(MOST, int(LEAST / product(mu)))
        for rate in RATES[:2]:
            for trial in range(trials):
                network, x, y = _case("widening", mu, trial)
                lr = rate / rate_unit(network, x, y)
                steps = 0
                for update in updates(network, x, y, lr, MOST):
                    if network.product(update) < LEAST:
                        break
                    steps += 1
                rows.append({"mu": mu, "rate": rate, "trial": trial, "steps": steps, "steps_slow": slow})
    return pd.DataFrame(rows)


def _case(name: str, mu: float, trial: int) -> tuple[Network, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(trial)
    x = torch.rand(1, SIZE, generator=generator, dtype=torch.float64)
    if name == "widening":
        network, y = with_logit(random_network((SIZE, *HIDDEN), LEAK, generator), x, mu)
        return network, x, y
    network = orthogonal_network(SIZE, 3, LEAK, generator)
    x = x * (abs(mu) / network.features(x)[-1].norm())
    return aligned(network, x), x, torch.full((1,), 1.0 if mu > 0 else -1.0, dtype=torch.float64)


def rate_unit(network: Network, x: Tensor, y: Tensor) -> float:
    """|d mu / d W|^2 over all layers: the gradient's, divided by dl/dmu."""
    slope = torch.sigmoid(-network.logit(x, y))
    return float(sum((gradient / slope).square().sum() for gradient in network.gradients(x, y)))


def updates(network: Network, x: Tensor, y: Tensor, lr: float, steps: int) -> Iterator[tuple[Tensor, ...]]:
    """(W^0 - W^U) / lr, the sum of the gradients of U steps, for U = 1, 2, ... (the paper has the other sign)."""
    local, update = network, tuple(torch.zeros_like(weight) for weight in network.weights)
    for _ in range(steps):
        gradients = local.gradients(x, y)
        local = local.stepped(gradients, lr)
        update = tuple(total + gradient for total, gradient in zip(update, gradients, strict=True))
        yield update


def _follow(network: Network, x: Tensor, y: Tensor, lr: float, mu: float) -> Iterator[dict[str, object]]:
    invert = printed if network.weights[0].shape[0] == network.weights[0].shape[1] else inverses
    for steps, update in enumerate(updates(network, x, y, lr, max(STEPS)), start=1):
        if steps not in STEPS:
            continue
        for adversary in ADVERSARIES:
            given = update if adversary == "sum" else tuple(part / steps for part in update)
            value = network.product(given)
            predicted = mu + sensitivity(mu, value - product(mu))
            row: dict[str, object] = {
                "U": steps,
                "adversary": adversary,
                "product": value,
                "solvable": value >= LEAST,
                "mu_predicted": predicted,
                "error_eq9": abs(predicted / mu - 1),
            }
            if value >= LEAST:
                found = min(logits(value), key=lambda candidate: abs(candidate - mu))
                row |= {"mu_found": found, "error_eq8": abs(found / mu - 1)}
                row |= relative_errors(invert(network, given, y, found), x)
            yield row


def relative_errors(image: Tensor, x: Tensor) -> dict[str, float]:
    """Of an image (1, D) found for x (1, D), over the length of x: `error`, and its parts `along` x and `across` it."""
    error = (image - x).squeeze(0)
    unit = x.squeeze(0) / x.norm()
    along = float(error @ unit)
    across = float((error - along * unit).norm())
    scale = float(x.norm())
    return {"error": float(error.norm()) / scale, "along": along / scale, "across": across / scale}


RATE_LOGIT, RATE_IMAGE, MU_IMAGE = 0.01, 0.3, -0.5


def caption(frame: pd.DataFrame) -> str:
    """The caption; frame as from `measure`."""
    units = "-".join(map(str, (SIZE, *HIDDEN)))
    return (
        f"Theorem 4.2 on {frame['trial'].nunique()} networks of {units} units. (a) Relative error of the logit found "
        f"from the summed update (marks: median) and by Eq. (9) (dashed), rate {RATE_LOGIT:g}; crosses: Eq. "
        "(9) predicts a logit, but for some network none satisfies Eq. (16). (b) Error of the image along it "
        f"(brightness) and across it (content), rate {RATE_IMAGE:g}: medians, bands from least to greatest; "
        "Eq. (8) has no error of content. Curves end where some network has no solution. (c) Greatest number of steps "
        "up to which Eq. (16) has a solution, by true logit: median and range; dashed: the limit of small rates. Rates "
        "are relative to the model's sensitivity: the first step raises the logit by about rate / (1 + exp(logit))."
    )


def draw(frame: pd.DataFrame, limits: pd.DataFrame) -> "Figure":
    """Three panels; frames as from `measure` and `limits`. Inside a theme."""
    figure = style.new_figure(style.WIDTHS["page"], 2.55)
    first, second, third = figure.subplots(1, 3)
    _draw_logits(first, frame)
    _draw_images(second, frame)
    _draw_limits(third, limits)
    for axes in (first, second, third):
        style.open_axes(axes)
        axes.grid(axis="x", visible=False)
    figure.subplots_adjust(left=0.065, right=0.995, bottom=0.16, top=0.925, wspace=0.29)
    return figure


def everywhere(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """Median, least and greatest of a value per U, only where all trials found it: no average over survivors."""
    groups = frame.groupby("U")
    found = groups[value].agg(["median", "min", "max"]).reset_index()
    return found[groups["solvable"].all().to_numpy()]


def _draw_logits(axes: "Axes", frame: pd.DataFrame) -> None:
    chosen = frame[(frame["network"] == "widening") & (frame["rate"] == RATE_LOGIT) & (frame["adversary"] == "sum")]
    chosen = chosen[chosen["U"] > 1]
    for index, (mu, part) in enumerate(chosen.groupby("mu")):
        colour, marker = style.COLOURS[index], style.MARKERS[index]
        predicted = part.groupby("U")["error_eq9"].median()
        axes.plot(predicted.index, predicted, color=colour, linestyle="--", linewidth=0.9)
        found = everywhere(part, "error_eq8")
        axes.plot(found["U"], found["median"], color=colour, marker=marker, linestyle="", label=rf"$\mu^{{*}}={mu:g}$")
        missing = predicted[~predicted.index.isin(found["U"])]
        axes.plot(missing.index, missing, color=colour, marker="x", linestyle="", markersize=4.5, markeredgewidth=1.2)
    axes.plot([], [], color="#555555", linestyle="--", linewidth=0.9, label="Eq. (9)")
    axes.plot([], [], color="#555555", marker="x", linestyle="", markersize=4.5, label="no such logit")
    _label_steps(axes)
    axes.set_yscale("log")
    axes.set_ylim(0.5, 60)
    axes.set_ylabel(r"$|\mu^{rec}/\mu^{*}-1|$")
    axes.set_title("(a) Logit", pad=3)
    _legend(axes, "upper left", 1.6)


def _draw_images(axes: "Axes", frame: pd.DataFrame) -> None:
    chosen = frame[(frame["network"] == "widening") & (frame["rate"] == RATE_IMAGE) & (frame["mu"] == MU_IMAGE)]
    chosen = chosen[chosen["U"] > 1].assign(along=chosen["along"].abs())
    for index, (adversary, name) in enumerate((("sum", "update as it is"), ("mean", "divided by $U$"))):
        for part, text, dash in (("along", "brightness", "-"), ("across", "content", (0, (4, 1.3)))):
            points = everywhere(chosen[chosen["adversary"] == adversary], part)
            axes.plot(
                points["U"],
                points["median"],
                color=style.COLOURS[index],
                marker=style.MARKERS[index],
                linestyle=dash,
                markeredgecolor="white",
                markeredgewidth=0.5,
                label=f"{name}: {text}",
            )
            axes.fill_between(
                points["U"], points["min"], points["max"], color=style.COLOURS[index], alpha=0.12, linewidth=0
            )
    _label_steps(axes)
    axes.set_yscale("log")
    axes.set_ylim(0.003, 300)
    axes.set_ylabel("Relative error of the image")
    axes.set_title(r"(b) Image, $\mu^{*}=-0.5$", pad=3)
    _legend(axes, "upper left", 2.2)


def _draw_limits(axes: "Axes", limits: pd.DataFrame) -> None:
    slow = limits.groupby("mu")["steps_slow"].first()
    axes.plot(slow.index, slow, color="#333333", linewidth=0.9, linestyle="--", label="rate near 0")
    for index, (rate, part) in enumerate(limits.groupby("rate")):
        found = part.groupby("mu")["steps"].agg(["median", "min", "max"])
        colour = style.COLOURS[index]
        places = found.index.to_numpy() * (1.06 if index else 0.94)
        axes.vlines(places, found["min"], found["max"], color=colour, linewidth=0.8)
        axes.plot(
            places,
            found["median"],
            color=colour,
            marker=style.MARKERS[index],
            linestyle="",
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=f"rate {rate:g}",
        )
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    _plain_ticks(axes.yaxis, (1, 2, 4, 8, 16, MOST))
    axes.set_yticklabels(["1", "2", "4", "8", "16", f"{MOST}+"])
    _plain_ticks(axes.xaxis, (0.02, 0.1, 0.5))
    axes.set_ylim(0.85, 42)
    axes.set_xlabel(r"True logit $\mu^{*}>0$")
    axes.set_ylabel("Local steps $U$")
    axes.set_title("(c) Steps up to which a logit exists", pad=3)
    _legend(axes, "lower left", 1.6)


def _legend(axes: "Axes", loc: Literal["upper left", "lower left"], handlelength: float) -> None:
    axes.legend(
        frameon=False,
        loc=loc,
        handlelength=handlelength,
        handletextpad=0.4,
        borderaxespad=0.1,
        labelspacing=0.2,
        fontsize=6.5,
    )


def _label_steps(axes: "Axes") -> None:
    axes.set_xscale("log", base=2)
    _plain_ticks(axes.xaxis, (2, 4, 8, 16))
    axes.set_xlabel("Local steps $U$")


def _plain_ticks(axis: "Axis", ticks: tuple[float, ...]) -> None:
    from matplotlib.ticker import NullLocator

    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())
