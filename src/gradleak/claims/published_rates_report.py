"""Agreement with the paper by the client's learning rate: CSV, Markdown, and a figure."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradleak.analysis.statistics import LEAST_POINTS
from gradleak.analysis.text import as_text, csv_text, fixed, interval, p_value
from gradleak.claims.base import ClaimData
from gradleak.claims.published_rates import BOTH, RateAgreement
from gradleak.presentations import markup, style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TABLES = {BOTH: "table1 and table2"}


def rates_csv(rows: list[RateAgreement], data: ClaimData) -> str:
    """One line per model, rate and table."""
    heading = [
        "model",
        "client_lr",
        "table",
        "lines",
        "judged",
        "agreed",
        "share",
        "rank_correlation",
        "low",
        "high",
        "p",
    ]
    heading += ["mean_absolute_difference", "stable", "fitted", "study"]
    return csv_text(
        [
            heading,
            *(
                [
                    *(row.model, as_text(row.rate), _TABLES.get(row.table, row.table)),
                    *(row.ranks.n, row.judged, row.agreed, fixed(row.share)),
                    *map(fixed, (row.ranks.rho, row.ranks.low, row.ranks.high, row.ranks.p, row.error)),
                    *("yes" if row.stable else "no", "yes" if row.fitted else "", data.study),
                ]
                for row in rows
            ),
        ]
    )


def rates_md(rows: list[RateAgreement]) -> str:
    """A section for `published.md`. Empty where there is nothing to compare."""
    if not rows:
        return ""
    titles = ["model", "rate", "table", "lines", "verdicts", "agree", "rank correlation", "interval", "p"]
    titles += ["mean absolute difference", "stable", "fitted"]
    return f"## The paper's Tables 1 and 2 by the client's rate\n\n{_explained(rows)}\n\n" + markup.markdown_table(
        titles, map(_entry, rows), [*titles[3:7], titles[9]]
    )


def rates_caption(rows: list[RateAgreement], data: ClaimData) -> str:
    """The caption of the figure."""
    if not rows:
        return f"Study {data.study} has no cells beside Tables 1 and 2 of the paper.\n"
    return (
        "Agreement of both tables together with the paper's, over the client's rate: share of the verdicts on LPIPS"
        " that agree, and Spearman's rank correlation. Numbers at markers: lines. Hollow: not stable. Ring: fitted."
        f" {_explained(rows)} All numbers of ours are those of study {data.study}.\n"
    )


def _explained(rows: list[RateAgreement]) -> str:
    fitted = ", ".join(f"{row.model} {as_text(row.rate)}" for row in rows if row.fitted)
    return (
        "The paper does not state the client's learning rate. Lines: numbers of the paper beside cells of this model"
        " and rate with as many local steps as the column says; attacks at a surrogate point are not the paper's. Rates"
        " need not have the same lines. A rate is stable if no client's loss ends above its start, after as many steps"
        f" as the paper's. Fitted: of the stable rates with verdicts on {LEAST_POINTS} lines or more, the one with the"
        " greatest share of verdicts that agree, then the greatest rank correlation."
        f" Fitted rates: {fitted or 'none'}."
    )


def _entry(row: RateAgreement) -> list[str]:
    ranks = row.ranks
    return [
        *(row.model, as_text(row.rate), _TABLES.get(row.table, row.table), str(ranks.n), str(row.judged)),
        "" if math.isnan(row.share) else f"{row.agreed} ({100 * row.share:.0f} %)",
        *(fixed(ranks.rho, 2), interval(ranks.low, ranks.high, 2), p_value(ranks.p), fixed(row.error, 4)),
        *("yes" if row.stable else "no", "yes" if row.fitted else ""),
    ]


def rates_figure(rows: list[RateAgreement]) -> dict[str, bytes]:
    """The figure by the end of its name (`.pdf`, `.png`): over the rate, the share of verdicts that agree and the rank
    correlation, of both tables together, one line per model. Markers are hollow where a rate is not stable, and ringed
    where it is the fitted one. Numbers at markers: lines.
    """
    with style.theme():
        return style.image_files(_draw([row for row in rows if row.table == BOTH]))


def _draw(rows: list[RateAgreement]) -> "Figure":
    figure = style.new_figure(style.WIDTHS["page"], 2.35)
    first, second = figure.subplots(1, 2)
    _panel(first, rows, "Verdicts that agree (%)", lambda row: 100 * row.share, (0, 108))
    _panel(second, rows, "Rank correlation", lambda row: row.ranks.rho, (-1.08, 1.16))
    top = style.legend_above(figure, _handles(rows), 6) if rows else 1.0
    figure.tight_layout(pad=0.4, w_pad=1.5, rect=(0, 0, 1, top))
    return figure


def _handles(rows: list[RateAgreement]) -> "list[Artist]":
    from matplotlib.lines import Line2D

    models = list(dict.fromkeys(row.model for row in rows))
    lines: list[Artist] = [Line2D([], [], label=model, **_look(i)) for i, model in enumerate(models)]
    grey: dict[str, Any] = {"color": "#555555", "linestyle": "", "marker": "o"}
    if not all(row.stable for row in rows):
        lines.append(Line2D([], [], label="not stable", markerfacecolor="white", markeredgewidth=0.9, **grey))
    if any(row.fitted for row in rows):
        lines.append(Line2D([], [], label="fitted", markersize=8, markerfacecolor="none", markeredgewidth=0.7, **grey))
    return lines


def _look(i: int) -> dict[str, Any]:
    return {
        "color": style.COLOURS[i % len(style.COLOURS)],
        "marker": style.MARKERS[i % len(style.MARKERS)],
        "linestyle": style.DASHES[i % len(style.DASHES)],
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def _panel(
    axes: "Axes",
    rows: list[RateAgreement],
    name: str,
    value: Callable[[RateAgreement], float],
    limits: tuple[float, float],
) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter

    axes.set_ylim(*limits)
    axes.set_xlabel("Client's learning rate $\\eta$")
    axes.set_ylabel(name)
    style.open_axes(axes)
    axes.grid(axis="x", visible=False)
    rates = sorted({row.rate for row in rows})
    if not rates:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no rates to compare", transform=axes.transAxes, ha="center", va="center")
        return
    axes.set_xscale("log")
    axes.set_xlim(rates[0] / 1.4, rates[-1] * 1.4)
    for i, model in enumerate(dict.fromkeys(row.model for row in rows)):
        own = [row for row in rows if row.model == model and not math.isnan(value(row))]
        look = _look(i)
        axes.plot([row.rate for row in own], [value(row) for row in own], zorder=3, **look)
        for row in own:
            at = [row.rate], [value(row)]
            if not row.stable:
                hollow: dict[str, Any] = {
                    "markerfacecolor": "white",
                    "markeredgecolor": look["color"],
                    "markeredgewidth": 0.9,
                }
                axes.plot(*at, zorder=3.1, **{**look, "linestyle": "", **hollow})
            if row.fitted:
                ring: dict[str, Any] = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 0.7}
                axes.plot(*at, marker="o", linestyle="", markeredgecolor="#555555", zorder=3.2, **ring)
            lower = any(value(other) > value(row) for other in rows if other.rate == row.rate)
            axes.annotate(
                str(row.ranks.n),
                (row.rate, value(row)),
                xytext=(0, -6.5 if lower else 6.5),
                va="top" if lower else "baseline",
                textcoords="offset points",
                color=look["color"],
                fontsize=6,
                ha="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
                zorder=4,
            )
    ticks = style.spaced(axes, [(rate, as_text(rate)) for rate in rates])
    axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    axes.xaxis.set_minor_locator(FixedLocator(rates))
    axes.xaxis.set_minor_formatter(NullFormatter())
