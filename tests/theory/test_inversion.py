"""The network of Eqs. (3) to (5) and its closed-form inversion: gradients against autograd, conditions of Eq. (7)."""

import pytest
import torch

from gradleak.analysis.logit import logits, product
from gradleak.theory import lemma41
from gradleak.theory.network import ROUTES, Network, aligned, orthogonal_network, random_network, with_logit


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("leak", [0.2, 0.0])
def test_gradients_of_eq_13_are_those_of_autograd(leak: float) -> None:
    network = random_network((5, 7, 4), leak, _generator())
    x, y = torch.rand(3, 5, dtype=torch.float64), torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    leaves = tuple(weight.clone().requires_grad_() for weight in network.weights)
    loss = torch.log1p(torch.exp(-Network(leaves, leak).logit(x, y))).mean()
    for found, expected in zip(network.gradients(x, y), torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_one_neuron_by_hand() -> None:
    # F_1 = 2 * 3 = 6, mu = 0.5 * 6 = 3; dl/dmu = -1 / (1 + e^3).
    network = Network((torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)), 0.2)
    x, y = torch.tensor([[3.0]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    slope = -1 / (1 + torch.e**3)
    first, last = network.gradients(x, y)
    assert float(network.logit(x, y)) == pytest.approx(3)
    assert float(last) == pytest.approx(6 * slope)
    assert float(first) == pytest.approx(0.5 * 3 * slope)
    assert float(last * 0.5) == pytest.approx(product(3))
    assert float(ROUTES["inverses"](network, (first, last), y, 3.0)) == pytest.approx(3)
    assert float(ROUTES["gradients"](network, (first, last), y, 3.0)) == pytest.approx(3)


def test_with_logit_sets_it() -> None:
    x = torch.rand(1, 6, dtype=torch.float64, generator=_generator())
    for mu in (-2.0, 0.05):
        network, y = with_logit(random_network((6, 8), 0.2, _generator()), x, mu)
        assert float(network.logit(x, y)) == pytest.approx(mu)


@pytest.mark.parametrize("route", list(ROUTES))
def test_all_routes_are_exact_where_eq_7_holds(route: str) -> None:
    x = torch.rand(1, 10, dtype=torch.float64, generator=_generator())
    network, y = aligned(orthogonal_network(10, 4, 0.3, _generator()), x), torch.ones(1, dtype=torch.float64)
    found = ROUTES[route](network, network.gradients(x, y), y, float(network.logit(x, y)))
    torch.testing.assert_close(found, x, rtol=1e-11, atol=1e-12)


def test_what_each_reading_needs() -> None:
    table = lemma41.summarise(lemma41.measure(trials=3)).set_index(["network", "route", "solution"])["error_max"]
    exact = {key for key, error in table.items() if error < 1e-10}
    expected = {("aligned", route, "true") for route in ROUTES}
    expected |= {(name, route, "true") for name in ("orthogonal", "widening") for route in ("inverses", "gradients")}
    expected |= {(name, "gradients", "true") for name in ("narrowing", "relu")}
    assert exact == expected


def test_two_images_with_one_gradient_behind_two_logits() -> None:
    frame = lemma41.measure(trials=2)
    other = frame[(frame["solution"] == "other") & (frame["route"] == "gradients") & (frame["network"] != "batch")]
    assert len(other) > 0
    assert (other["mu"] > 0).all()
    assert other["error"].min() > 1e-3
    assert other["gradient_difference"].max() < 1e-12
    for row in other.to_dict("records"):
        assert len(logits(product(row["mu"]))) == 2
