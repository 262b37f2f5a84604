"""Captions of the theory figures. Every number in them is taken from what was measured or set."""

import pandas as pd

from gradleak.theory import figure3 as example
from gradleak.theory import theorem42 as growth
from gradleak.theory import theorem43 as masks
from gradleak.theory.logit import LEAST, ROUNDING


def figure3() -> str:
    """Caption of Figure 3."""
    side, units = example.SIDE, "-".join(map(str, example.WIDTHS))
    return (
        "Figure 3, computed: dependence between gradient, logit and input. A client takes U full-batch steps on one "
        f"photograph of {side} x {side} pixels ({units} units, leaky ReLU, true logit {example.LOGIT:g}, rate "
        f"{example.RATE:g}); the closed form is applied to the whole update. Left: the logits that Eq. (16) gives, "
        f"and what Eq. (9) predicts on the tangent; no logit has a product below {LEAST:.4f}. Right: the images found, "
        "clipped to [0, 1], and below them the same divided by their brightness; content: what differs from the true "
        "image after that, relative to its length."
    )


def lemma41(frame: pd.DataFrame) -> str:
    """Caption of the figure on Lemma 4.1."""
    return (
        f"Lemma 4.1: error of the image that the closed form gives, for {frame['trial'].nunique()} random networks and "
        "inputs of each kind, by three readings of Eq. (7). Every point is one inversion. Hollow: the second logit "
        f"that satisfies Eq. (6), which exists where the true one is positive (product between {LEAST:.4f} and 0). "
        f"0 stands for less than {ROUNDING:g}."
    )


def theorem42(frame: pd.DataFrame) -> str:
    """Caption of the figure on Theorem 4.2."""
    units = "-".join(map(str, (growth.SIZE, *growth.HIDDEN)))
    return (
        f"Theorem 4.2 on {frame['trial'].nunique()} networks of {units} units. (a) Relative error of the logit found "
        f"from the summed update (marks: median) and by Eq. (9) (dashed), rate {growth.RATE_LOGIT:g}; crosses: Eq. "
        "(9) predicts a logit, but for some network none satisfies Eq. (16). (b) Error of the image along it "
        f"(brightness) and across it (content), rate {growth.RATE_IMAGE:g}: medians, bands from least to greatest; "
        "Eq. (8) has no error of content. Curves end where some network has no solution. (c) Greatest number of steps "
        "up to which Eq. (16) has a solution, by true logit: median and range; dashed: the limit of small rates. Rates "
        "are relative to the model's sensitivity: the first step raises the logit by about rate / (1 + exp(logit))."
    )


def theorem43(sweep: pd.DataFrame) -> str:
    """Caption of the figure on Theorem 4.3."""
    full = sweep["rank"] >= sweep["inputs"]
    most, least = sweep[~full]["difference"].max(), sweep[full]["difference"].min()
    none = "0" if most < ROUNDING else f"at most {most:.0e}"
    return (
        "Theorem 4.3 on small convolutional networks with p parameters. Above: different images with one gradient, "
        "found by projecting the difference to another photograph on the null space of the Jacobian and following the "
        "level set; RMS in units of pixels in [0, 1], pictures clipped. (a) Change of the gradient by masks of several "
        f"sizes. (b) The least change found for masks of {masks.RMS:g} RMS: {none} where the Jacobian's rank is "
        f"below BD, at least {least:.0e} where it is BD. Networks with a narrow layer have masks beyond p = BD. 0 "
        f"stands for less than {ROUNDING:g}."
    )
