"""Epsilon: the analytic Gaussian mechanism against its definition and known values, and which chains have one."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import norm

from gradleak.post_processing.chain import Chain
from gradleak.post_processing.privacy import DELTA, gaussian_delta, gaussian_epsilon, local_epsilon

CLIP = {"name": "clip", "bound": 0.5}
NOISE = {"name": "noise", "multiplier": 0.2}
TOP_K, QSGD, SIGN = {"name": "top_k"}, {"name": "qsgd"}, {"name": "signsgd"}


def chain_of(*steps):
    return TypeAdapter(Chain).validate_python(list(steps))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0, 30.0])
@pytest.mark.parametrize("std", [0.2, 1.0, 3.0])
def test_delta_is_the_hockey_stick_divergence_of_two_gaussians(std, epsilon):
    x = np.linspace(-40, 40, 800_001)
    excess = norm.pdf(x, 1, std) - math.exp(epsilon) * norm.pdf(x, 0, std)
    expected = np.clip(excess, 0, None).sum() * (x[1] - x[0])
    assert gaussian_delta(1.0, std, epsilon) == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_known_value():
    # Balle and Wang 2018: the deviation for epsilon 1 and delta 1e-5 is 3.730632, below the classic 4.844805.
    assert gaussian_epsilon(1.0, 3.730632, 1e-5) == pytest.approx(1.0, abs=1e-5)
    assert gaussian_epsilon(1.0, math.sqrt(2 * math.log(1.25e5)), 1e-5) < 1.0


@pytest.mark.parametrize("mu", [1e-6, 0.01, 0.3, 2.0, 40.0, 400.0, 1e4])
def test_epsilon_has_the_delta_that_was_asked_for_and_grows_with_the_sensitivity(mu):
    epsilon = gaussian_epsilon(mu, 1.0, DELTA)
    if mu < 1e-5:
        assert epsilon == 0.0
        assert gaussian_delta(mu, 1.0, 0.0) <= DELTA
    else:
        assert gaussian_delta(mu, 1.0, epsilon) == pytest.approx(DELTA, rel=1e-3)
    assert gaussian_epsilon(2 * mu, 1.0, DELTA) >= epsilon


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
