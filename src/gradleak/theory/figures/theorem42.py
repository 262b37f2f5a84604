"""Draws the experiment on Theorem 4.2: logits, images and solvability over the number of local steps."""

from typing import TYPE_CHECKING

import pandas as pd

from gradleak.figures import style
from gradleak.theory.theorem42 import MOST, STEPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATE_LOGIT, RATE_IMAGE, MU_IMAGE = 0.01, 0.3, -0.5


def draw(frame: pd.DataFrame, limits: pd.DataFrame) -> "Figure":
    """Three panels; frames as from `theorem42.measure` and `theorem42.limits`. Inside a theme."""
    figure = style.new_figure(style.WIDTHS["page"], 2.55)
    first, second, third = figure.subplots(1, 3)
    _draw_logits(first, frame)
    _draw_images(second, frame)
    _draw_limits(third, limits)
    for axes in (first, second, third):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(axis="x", visible=False)
    figure.subplots_adjust(left=0.065, right=0.995, bottom=0.16, top=0.925, wspace=0.29)
    return figure


def everywhere(frame: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """Median, least and greatest of a value per keys, where it was found in all trials; no average over survivors."""
    groups = frame.groupby(keys, sort=True)
    found = groups[value].agg(["median", "min", "max"]).reset_index()
    return found[groups["solvable"].all().to_numpy()]


def _draw_logits(axes: "Axes", frame: pd.DataFrame) -> None:
    chosen = frame[(frame["network"] == "widening") & (frame["rate"] == RATE_LOGIT) & (frame["adversary"] == "sum")]
    chosen = chosen[chosen["U"] > 1]
    for index, (mu, part) in enumerate(chosen.groupby("mu")):
        colour, marker = style.COLOURS[index], style.MARKERS[index]
        predicted = part.groupby("U")["error_eq9"].median()
        axes.plot(predicted.index, predicted, color=colour, linestyle="--", linewidth=0.9)
        found = everywhere(part, ["U"], "error_eq8")
        axes.plot(found["U"], found["median"], color=colour, marker=marker, linestyle="", label=rf"$\mu^{{*}}={mu:g}$")
        missing = predicted[~predicted.index.isin(found["U"])]
        axes.plot(missing.index, missing, color=colour, marker="x", linestyle="", markersize=4.5, markeredgewidth=1.2)
    axes.plot([], [], color="#555555", linestyle="--", linewidth=0.9, label="Eq. (9)")
    axes.plot([], [], color="#555555", marker="x", linestyle="", markersize=4.5, label="no such logit")
    _steps(axes, STEPS[1:])
    axes.set_yscale("log")
    axes.set_ylim(0.5, 60)
    axes.set_ylabel(r"$|\mu^{rec}/\mu^{*}-1|$")
    axes.set_title("(a) Logit", pad=3)
    axes.legend(
        frameon=False,
        loc="upper left",
        handletextpad=0.4,
        borderaxespad=0.1,
        labelspacing=0.2,
        fontsize=6.5,
        handlelength=1.6,
    )


def _draw_images(axes: "Axes", frame: pd.DataFrame) -> None:
    chosen = frame[(frame["network"] == "widening") & (frame["rate"] == RATE_IMAGE) & (frame["mu"] == MU_IMAGE)]
    chosen = chosen[chosen["U"] > 1].assign(along=chosen["along"].abs())
    for index, (adversary, name) in enumerate((("sum", "update as it is"), ("mean", "divided by $U$"))):
        for part, text, dash in (("along", "brightness", "-"), ("across", "content", (0, (4, 1.3)))):
            points = everywhere(chosen[chosen["adversary"] == adversary], ["U"], part)
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
    _steps(axes, STEPS[1:])
    axes.set_yscale("log")
    axes.set_ylim(0.003, 300)
    axes.set_ylabel("Relative error of the image")
    axes.set_title(r"(b) Image, $\mu^{*}=-0.5$", pad=3)
    axes.legend(
        frameon=False,
        loc="upper left",
        handlelength=2.2,
        handletextpad=0.4,
        borderaxespad=0.1,
        labelspacing=0.2,
        fontsize=6.5,
    )


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
    _plain(axes, "y", (1, 2, 4, 8, 16, MOST))
    axes.set_yticklabels(["1", "2", "4", "8", "16", f"{MOST}+"])
    _plain(axes, "x", (0.02, 0.1, 0.5))
    axes.set_ylim(0.85, 42)
    axes.set_xlabel(r"True logit $\mu^{*}>0$")
    axes.set_ylabel("Local steps $U$")
    axes.set_title("(c) Steps up to which a logit exists", pad=3)
    axes.legend(
        frameon=False,
        loc="lower left",
        handlelength=1.6,
        handletextpad=0.4,
        borderaxespad=0.1,
        labelspacing=0.2,
        fontsize=6.5,
    )


def _steps(axes: "Axes", steps: tuple[int, ...]) -> None:
    axes.set_xscale("log", base=2)
    _plain(axes, "x", tuple(step for step in steps if step & (step - 1) == 0))
    axes.set_xlabel("Local steps $U$")


def _plain(axes: "Axes", which: str, ticks: tuple[float, ...]) -> None:
    from matplotlib.ticker import NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())
