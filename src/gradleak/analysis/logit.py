"""The logit behind a last layer's gradient: G(mu) = -mu / (1 + e^mu) (Eq. 6), its inverses and derivative."""

import math

import numpy as np
from scipy.special import lambertw

_W = float(lambertw(math.exp(-1)).real)
LEAST = -_W
"""G's least value, -0.2785: no logit has a smaller one, so that below it Eq. (6) has no solution."""

TURN = 1 + _W
"""Where G is least, 1.2785: there its slope is 0, and left and right of it lie two logits with the same G."""


def product(mu: float) -> float:
    """G(mu), the product of the last layer's gradient with its weights for one sample with logit mu (Eq. 6)."""
    # Written so that no exponent overflows.
    return -mu / (1 + math.exp(mu)) if mu < 0 else -mu * math.exp(-mu) / (1 + math.exp(-mu))


def slope(mu: float) -> float:
    """G'(mu) = (mu e^mu - e^mu - 1) / (1 + e^mu)^2, the derivative that Eq. (9) divides by."""
    decay = math.exp(-abs(mu))
    # Numerator and denominator are multiplied by e^(-2 mu) where mu > 0.
    top = (mu - 1) * decay - decay**2 if mu > 0 else (mu - 1) * decay - 1
    return top / (1 + decay) ** 2


def logits(value: float) -> tuple[float, ...]:
    """All logits mu with G(mu) = value, ascending: none below `LEAST`, two between `LEAST` and 0, else one.

    With s = mu + g, G(mu) = g reads -s e^(-s) = g e^(-g), so mu = -g - W(g e^(-g)) with either branch of Lambert's W.
    """
    if value < LEAST:
        return ()
    argument = value * math.exp(-value)
    branches = (0, -1) if value < 0 else (0,)
    return tuple(float(np.real(-value - lambertw(argument, branch))) for branch in branches)


def sensitivity(mu: float, excess: float) -> float:
    """Eq. (9): the logit's error if the product is off by `excess`, to first order in it."""
    return excess / slope(mu)
