"""Epsilon: the analytic Gaussian mechanism against its definition and known values, and which chains have one."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import norm

from gradleak.post_processing.chain import Chain
from gradleak.post_processing.privacy import DELTA, gaussian_epsilon, local_epsilon

CLIP = {"name": "clip", "bound": 0.5}
NOISE = {"name": "noise", "multiplier": 0.2}
TOP_K, QSGD, SIGN = {"name": "top_k"}, {"name": "qsgd"}, {"name": "signsgd"}


def chain_of(*steps):
    return TypeAdapter(Chain).validate_python(list(steps))


def delta_of(mu, epsilon):
    """The hockey-stick divergence of two Gaussians of deviation 1 whose means are `mu` apart, by its definition."""
    x = np.linspace(mu - 12, mu + 12, 800_001)
    ratio = norm.logpdf(x, 0, 1) - norm.logpdf(x, mu, 1)  # epsilon + ratio stays small where exp(epsilon) would not
    excess = norm.pdf(x, mu, 1) * -np.expm1(np.minimum(epsilon + ratio, 0))
    return excess.sum() * (x[1] - x[0])


@pytest.mark.parametrize("mu", [0.01, 0.3, 2.0, 40.0, 400.0])
def test_epsilon_has_the_delta_that_was_asked_for_and_grows_with_the_sensitivity(mu):
    epsilon = gaussian_epsilon(2 * mu, 2.0, DELTA)
    assert delta_of(mu, epsilon) == pytest.approx(DELTA, rel=1e-3)
    assert gaussian_epsilon(2 * mu, 1.0, DELTA) > epsilon


def test_so_much_noise_that_delta_alone_is_enough_has_no_epsilon():
    assert delta_of(1e-6, 0.0) < DELTA
    assert gaussian_epsilon(1e-6, 1.0, DELTA) == 0.0


def test_known_value():
    # Balle and Wang 2018: the deviation for epsilon 1 and delta 1e-5 is 3.730632, below the classic 4.844805.
    assert gaussian_epsilon(1.0, 3.730632, 1e-5) == pytest.approx(1.0, abs=1e-5)
    assert gaussian_epsilon(1.0, math.sqrt(2 * math.log(1.25e5)), 1e-5) < 1.0


def test_two_clipped_updates_are_twice_the_bound_apart():
    assert local_epsilon(chain_of(CLIP, NOISE)) == gaussian_epsilon(1.0, 0.2, DELTA)
    assert local_epsilon(chain_of(CLIP, NOISE | {"scale": 0.5})) == gaussian_epsilon(1.0, 0.1, DELTA)
    assert local_epsilon(chain_of(CLIP, NOISE), 1e-3) < local_epsilon(chain_of(CLIP, NOISE))


def test_what_comes_after_the_noise_and_what_keeps_the_bound_changes_nothing():
    whole = local_epsilon(chain_of(CLIP, NOISE))
    for chain in ([CLIP, NOISE, QSGD], [CLIP, TOP_K, NOISE], [CLIP, SIGN, NOISE], [TOP_K, CLIP, NOISE, SIGN]):
        assert local_epsilon(chain_of(*chain)) == whole


@pytest.mark.parametrize(
    "chain",
    [
        [],
        [CLIP],
        [NOISE],
        [NOISE, CLIP],
        [QSGD],
        [CLIP, QSGD, NOISE],
        [CLIP, SIGN | {"scale": 1.0}, NOISE],
        [CLIP, NOISE | {"multiplier": 0}],
    ],
)
def test_without_a_bound_before_the_noise_there_is_none(chain):
    assert local_epsilon(chain_of(*chain)) is None
