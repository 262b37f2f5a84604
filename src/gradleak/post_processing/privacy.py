"""Local differential privacy of a shared update: epsilon of clipping and Gaussian noise."""

from gradleak.post_processing.base import Defense

#: The delta of all reported epsilons.
DELTA = 1e-5


def gaussian_epsilon(sensitivity: float, std: float, delta: float) -> float:
    """The least epsilon for which Gaussian noise of `std` on a vector of L2 `sensitivity` is (epsilon, delta)-DP.

    dp-accounting solves it exactly (Balle and Wang 2018, Theorem 8). Its accountants, as those of Opacus, are for many
    steps with sampling, and approximate.
    """
    from dp_accounting import get_epsilon_gaussian

    return float(get_epsilon_gaussian(std / sensitivity, delta))


def local_epsilon(chain: tuple[Defense, ...], delta: float = DELTA) -> float | None:
    """Epsilon of one shared update under a chain of defenses; None if it has none.

    Local differential privacy compares any two data sets that the client might have, so two updates of norm C are up
    to 2C apart. None where no noise is added, or no step before it bounds the update's norm. Steps after the noise
    change nothing. It is about the update alone, not about labels or BN statistics beside it; k updates of one client
    have the epsilon of a sensitivity sqrt(k) times as large.
    """
    noised = bounded_noise(chain)
    return None if noised is None else gaussian_epsilon(*noised, delta)


def bounded_noise(chain: tuple[Defense, ...]) -> tuple[float, float] | None:
    """The L2 sensitivity 2C of an update to which a chain adds noise, and the noise's standard deviation.

    None where it adds none, or no step before it bounds the norm: there is no epsilon.
    """
    bound: float | None = None
    for step in chain:
        if step.noise_std > 0:
            return None if bound is None else (2 * bound, step.noise_std)
        bound = step.norm_bound(bound)
    return None
