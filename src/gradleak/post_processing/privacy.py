"""Local differential privacy of a shared update: epsilon of clipping and Gaussian noise.

The analytic Gaussian mechanism (Balle and Wang 2018, Theorem 8), which is exact. Accountants of libraries are for many
steps with sampling; Opacus solves the same equation, but behind a limit theorem and only up to epsilon = 500, which
noise as weak as in Appx. C.III exceeds.
"""

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from gradleak.post_processing.base import DEFENSES, DefenseConfig

#: The delta of all reported epsilons.
DELTA = 1e-5


def gaussian_delta(sensitivity: float, std: float, epsilon: float) -> float:
    """The least delta for which Gaussian noise of `std` on a vector of L2 `sensitivity` is (epsilon, delta)-DP."""
    mu = sensitivity / std
    return float(ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)))


def gaussian_epsilon(sensitivity: float, std: float, delta: float) -> float:
    """The least epsilon for which Gaussian noise of `std` on a vector of L2 `sensitivity` is (epsilon, delta)-DP."""
    if gaussian_delta(sensitivity, std, 0.0) <= delta:
        return 0.0
    mu = sensitivity / std
    enough = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))  # by the tail bound of the first term
    return float(brentq(lambda epsilon: gaussian_delta(sensitivity, std, epsilon) - delta, 0.0, enough, xtol=1e-10))


def local_epsilon(chain: tuple[DefenseConfig, ...], delta: float = DELTA) -> float | None:
    """Epsilon of one shared update under a chain of defenses; None if it has none.

    Local differential privacy compares any two data sets that the client might have, so two updates of norm C are up
    to 2C apart. None where no noise is added, or no step before it bounds the update's norm. Steps after the noise
    change nothing. It is about the update alone, not about labels or BN statistics beside it; k updates of one client
    have the epsilon of a sensitivity sqrt(k) times as large.
    """
    bound: float | None = None
    for step in chain:
        defense = DEFENSES[step.name]
        std = defense.noise_std(step)
        if std > 0:
            return None if bound is None else gaussian_epsilon(2 * bound, std, delta)
        bound = defense.norm_bound(step, bound)
    return None
