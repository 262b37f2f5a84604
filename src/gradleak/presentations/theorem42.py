"""A panel beside measurements: the error that Theorem 4.2 predicts in the limit of small rates, over U."""

from typing import TYPE_CHECKING

from gradleak.presentations import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOGITS = (-2.0, 0.05, 0.3)
STEPS = (2, 4, 8, 16, 32, 64)

_GREYS = ("#111111", "#666666", "#A0A0A0")

_ERRORS = (1, 3, 10, 30, 100)

TITLE = "Theorem 4.2, small rates"

SENTENCE = (
    "Theorem 4.2 in the limit of small rates, where all $U$ steps have the same gradient and the summed product is $U$"
    " times that of one: relative error of the logit, by Eq. (8) that of the image's brightness, if the update is taken"
    " for one gradient. Lines: Eq. (9); marks: the logit nearest to the true one that satisfies Eq. (16); crosses: none"
    " does. No study decides it, and no cosine enters it."
)


def errors(mu: float, steps: int) -> tuple[float, float | None]:
    """Of the logit found for a true one: |mu_rec / mu - 1| by Eq. (9), and by Eq. (16) solved; None: no logit does."""
    from gradleak.analysis.logit import logits, product, sensitivity

    first_order = abs(sensitivity(mu, (steps - 1) * product(mu)) / mu)
    found = [abs(candidate / mu - 1) for candidate in logits(steps * product(mu))]
    return first_order, min(found, default=None)


def draw(axes: "Axes") -> None:
    """The panel, without its title. Inside a theme."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    for i, mu in enumerate(LOGITS):
        found = [(steps, *errors(mu, steps)) for steps in STEPS]
        colour = _GREYS[i]
        axes.plot(STEPS, [line for _, line, _ in found], color=colour, linestyle=style.DASHES[i], linewidth=0.9)
        solved = [(steps, exact) for steps, _, exact in found if exact is not None]
        axes.plot(
            [steps for steps, _ in solved],
            [exact for _, exact in solved],
            color=colour,
            marker=style.MARKERS[i],
            linestyle="",
            markeredgecolor="white",
            markeredgewidth=0.4,
            zorder=3,
        )
        none = [(steps, line) for steps, line, exact in found if exact is None]
        axes.plot(
            [steps for steps, _ in none],
            [line for _, line in none],
            color=colour,
            marker="x",
            linestyle="",
            markersize=4.2,
            markeredgewidth=1.1,
            zorder=3,
        )
        axes.plot(
            [], [], color=colour, marker=style.MARKERS[i], linestyle=style.DASHES[i], label=rf"$\mu^{{*}}={mu:g}$"
        )
    axes.plot([], [], color="#4A4A4A", marker="x", linestyle="", markersize=4.2, markeredgewidth=1.1, label="no logit")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(0.6, 130)
    axes.yaxis.set_major_locator(FixedLocator(_ERRORS))
    axes.yaxis.set_major_formatter(FixedFormatter([str(error) for error in _ERRORS]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(STEPS))
    axes.xaxis.set_major_formatter(FixedFormatter([str(steps) for steps in STEPS]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Local steps $U$")
    axes.set_ylabel("Relative error of logit and brightness")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", frameon=False, handlelength=2.2, handletextpad=0.5, borderaxespad=0.2)
    style.open_axes(axes)
