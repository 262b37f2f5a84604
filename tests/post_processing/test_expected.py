"""What an adaptive adversary matches: expectations by sampling, supports, gradients, and batches of trials."""

import pytest
import torch
from core_cases import random
from pydantic import TypeAdapter
from torch.func import grad, vmap

from gradleak.post_processing.base import DEFENSES
from gradleak.post_processing.chain import Chain, apply_chain, expectation

SHAPES = {"a": (4, 3), "b": (5,)}
CHAINS = {
    "none": "none",
    "qsgd": {"name": "qsgd", "bits": 1, "bucket": 4},
    "signsgd": {"name": "signsgd"},
    "sign": {"name": "signsgd", "scale": 2.0},
    "top_k": {"name": "top_k", "ratio": 0.6},
    "clip": {"name": "clip", "bound": 1.5},
    "wide": {"name": "clip", "bound": 1e6},
    "noise": {"name": "noise", "multiplier": 0.3},
    "chain": [{"name": "top_k", "ratio": 0.6}, {"name": "clip", "bound": 0.5}],
}
EXACT = [name for name in CHAINS if name not in ("signsgd", "sign")]


def chain_of(name):
    return TypeAdapter(Chain).validate_python(CHAINS[name])


def update_of(seed, *trials):
    return {
        name: torch.randn(*trials, *shape, generator=random(seed), dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


def objective(name, target):
    """Squared distance of what is expected of a candidate to the target: a scalar."""
    expected = expectation(chain_of(name))

    def of(candidate, shared):
        found = expected(candidate, shared)
        return sum((found[key] - target[key]).square().sum() for key in SHAPES)

    return of


@pytest.mark.parametrize("name", EXACT)
def test_it_is_the_mean_of_what_the_client_sends(name):
    chain, update, generator = chain_of(name), update_of(0), random(9)
    draws = [apply_chain(chain, update, generator).update for _ in range(4000)]
    expected = expectation(chain)(update, draws[0])
    for key in SHAPES:
        mean = torch.stack([draw[key] for draw in draws]).mean(0)
        assert torch.allclose(mean, expected[key], atol=0.1 if name == "qsgd" else 0.025), key


def test_the_soft_sign_is_a_sign_of_what_is_large_and_proportional_to_what_is_small():
    value = {"a": torch.tensor([100.0, -100.0, 0.01, -0.02], dtype=torch.float64)}
    soft = expectation(chain_of("sign"))(value, value)["a"]
    mean = value["a"].abs().mean()
    assert torch.allclose(soft[:2], 2 * torch.tensor([0.9640, -0.9640], dtype=torch.float64), atol=1e-3)
    assert torch.allclose(soft[2:], 2 * value["a"][2:] / mean, rtol=1e-6)
    assert expectation(chain_of("signsgd"))(value, value)["a"][0] == pytest.approx(float(mean * soft[0] / 2))


def test_of_top_k_it_has_the_support_that_the_server_sees_and_what_is_too_large_outside():
    shared = {"a": torch.tensor([0.0, 2.0, -3.0, 0.0, 0.0])}
    candidate = {"a": torch.tensor([9.0, 1.0, -6.0, -5.0, 1.5])}
    threshold = 2 * (37 / 13) ** 0.5  # the smallest kept number, times the ratio of norms on the support
    found = expectation(chain_of("top_k"))(candidate, shared)["a"].tolist()
    assert found == pytest.approx([9 - threshold, 1.0, -6.0, -(5 - threshold), 0.0])


@pytest.mark.parametrize("name", list(CHAINS))
def test_its_gradient_is_that_of_finite_differences(name):
    shared = apply_chain(chain_of(name), update_of(0), random(1)).update
    candidate = {key: value.requires_grad_() for key, value in update_of(2).items()}
    of = objective(name, shared)
    assert torch.autograd.gradcheck(lambda a, b: of({"a": a, "b": b}, shared), tuple(candidate.values()))


@pytest.mark.parametrize("name", list(CHAINS))
def test_batched_over_trials_it_is_each_trial_alone(name):
    candidates, target = update_of(3, 6), update_of(4)
    sent = [
        apply_chain(chain_of(name), {key: value[r] for key, value in update_of(5, 6).items()}, random(r)).update
        for r in range(6)
    ]
    shared = {key: torch.stack([one[key] for one in sent]) for key in SHAPES}
    found = vmap(grad(objective(name, target)))(candidates, shared)
    for r in range(6):
        alone = {key: value[r].clone().requires_grad_() for key, value in candidates.items()}
        objective(name, target)(alone, sent[r]).backward()
        for key in SHAPES:
            assert torch.allclose(found[key][r], alone[key].grad, rtol=1e-10)


@pytest.mark.parametrize("name", list(CHAINS))
def test_it_is_finite_at_a_candidate_without_gradient(name):
    zeros = {key: torch.zeros_like(value) for key, value in update_of(0).items()}
    found = grad(objective(name, update_of(4)))(zeros, update_of(1))
    assert all(value.isfinite().all() for value in found.values())


def test_every_defense_is_here():
    assert {chain_of(name)[0].name for name in CHAINS if name != "none"} == set(DEFENSES)
