"""Eq. (6) inverted: hand-derived values, both branches, and where no logit exists."""

import math

import pytest

from gradleak.analysis.logit import LEAST, TURN, logits, product, sensitivity, slope


def test_values_by_hand() -> None:
    assert product(0.0) == 0.0
    # e^(ln 3) = 3: G(ln 3) = -ln 3 / 4, G(-ln 3) = ln 3 / (4 / 3).
    assert product(math.log(3)) == pytest.approx(-math.log(3) / 4)
    assert product(-math.log(3)) == pytest.approx(0.75 * math.log(3))
    # G'(0) = (0 - 1 - 1) / 4.
    assert slope(0.0) == pytest.approx(-0.5)


@pytest.mark.parametrize("mu", [-800.0, -30.0, -2.0, 0.3, 1.0, 2.0, 30.0])
def test_slope_is_the_derivative(mu: float) -> None:
    step = 1e-6 * max(1.0, abs(mu))
    assert slope(mu) == pytest.approx((product(mu + step) - product(mu - step)) / (2 * step), abs=1e-8, rel=1e-6)


def test_least_value_and_where() -> None:
    # G' = 0 where e^mu (mu - 1) = 1, and there G = 1 - mu.
    assert math.exp(TURN) * (TURN - 1) == pytest.approx(1)
    assert product(TURN) == pytest.approx(LEAST, abs=1e-15)
    assert pytest.approx(1 - TURN) == LEAST
    assert slope(TURN) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("mu", [-700.0, -5.0, -0.5])
def test_negative_logit_is_found_alone(mu: float) -> None:
    assert logits(product(mu)) == pytest.approx((mu,))


@pytest.mark.parametrize("mu", [0.05, 0.7, 1.2, 1.5, 4.0])
def test_positive_logit_has_a_twin_on_the_other_side_of_the_turn(mu: float) -> None:
    low, high = logits(product(mu))
    assert low < TURN < high
    assert mu == pytest.approx(low if mu < TURN else high)
    assert product(low) == pytest.approx(product(high))


def test_no_logit_below_the_least_value() -> None:
    assert logits(LEAST - 1e-9) == ()
    assert len(logits(LEAST + 1e-9)) == 2


def test_first_order_error_of_eq_9() -> None:
    for mu in (-1.5, 0.4):
        exact = logits(product(mu) + 1e-6)[0] - mu
        assert sensitivity(mu, 1e-6) == pytest.approx(exact, rel=1e-4)
        # Halving the excess quarters what is beyond first order.
        errors = [logits(product(mu) + excess)[0] - mu - sensitivity(mu, excess) for excess in (0.02, 0.01)]
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
