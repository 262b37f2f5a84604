"""A local step against torch.optim in float64, and its derivative."""

from types import SimpleNamespace

import pytest
import torch
from core_cases import random

from gradleak.federated.optimizer import directions

RATE, STEPS = 0.1, 6
OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "decay": {"weight_decay": 0.3},
    "momentum-decay": {"momentum": 0.5, "weight_decay": 0.3},
    "adam": {"optimizer": "adam"},
    "adam-decay": {"optimizer": "adam", "weight_decay": 0.3},
}


def settings_of(name):
    return SimpleNamespace(**{"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0} | OPTIONS[name])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=random(seed), dtype=torch.float64)


def gradients_of(step):
    """Of two parameters: some numbers have a gradient of zero now and then, and one always."""
    first, second = draw(2, 3, seed=10 + step), draw(4, seed=20 + step)
    first[0, step % 3] = 0
    second[1] = 0
    return {"a": first, "b": second}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_steps_are_those_of_torch_optim(name):
    settings, memory = settings_of(name), {}
    current = {"a": draw(2, 3, seed=1), "b": draw(4, seed=2)}
    others = {key: value.clone().requires_grad_() for key, value in current.items()}
    options = {"lr": RATE, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adam":
        optimizer = torch.optim.Adam(others.values(), **options)
    else:
        optimizer = torch.optim.SGD(others.values(), momentum=settings.momentum, **options)
    for step in range(STEPS):
        gradients = gradients_of(step)
        kept = {key: value.clone() for key, value in (current | gradients).items()}
        found, memory = directions(settings, current, gradients, memory)
        assert all(torch.equal(value, kept[key]) for key, value in (current | gradients).items())
        current = {key: current[key] - RATE * found[key] for key in current}
        for key, other in others.items():
            other.grad = gradients[key].clone()
        optimizer.step()
        for key, other in others.items():
            assert torch.allclose(current[key], other, rtol=1e-12, atol=1e-14), (step, key)


def test_plain_sgd_takes_the_gradient_itself_and_remembers_nothing():
    gradients = gradients_of(0)
    found, memory = directions(settings_of("plain"), {}, gradients, {})
    assert memory == {}
    assert all(found[key] is value for key, value in gradients.items())


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_parameter_without_a_gradient_stays_and_keeps_its_memory(name):
    settings, gradients = settings_of(name), gradients_of(0)
    _, first = directions(settings, {}, gradients, {})
    found, second = directions(settings, {}, {"a": gradients["a"]}, first)
    assert list(found) == ["a"]
    assert second["b"] is first["b"]


@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_derivative_of_several_steps_is_that_of_finite_differences(name):
    settings, weight = settings_of(name), draw(5, seed=3)
    weight[2] = 0  # a gradient that is always zero

    def moved(x, start):
        current, memory = {"a": start}, {}
        for step in range(4):
            gradient = weight * (x - current["a"].sin() - step)
            found, memory = directions(settings, current, {"a": gradient}, memory)
            current = {"a": current["a"] - RATE * found["a"]}
        return current["a"]

    x, start = draw(5, seed=4).requires_grad_(), draw(5, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(moved, (x, start))
    # So do the transforms of torch.func.
    rows = torch.stack([x.detach(), x.detach() + 1])
    together = torch.func.vmap(torch.func.jacrev(moved), (0, None))(rows, start.detach())
    for row, found in zip(rows, together, strict=True):
        assert torch.allclose(found, torch.autograd.functional.jacobian(lambda y: moved(y, start.detach()), row))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_derivative_of_adam_is_finite_where_a_gradient_is_zero(dtype):
    gradient = torch.tensor([0.0, 1e-30, 1.0], dtype=dtype, requires_grad=True)
    memory, total = {}, 0
    for _ in range(3):
        found, memory = directions(settings_of("adam"), {}, {"a": gradient}, memory)
        total = total + found["a"]
    (derivative,) = torch.autograd.grad(total.sum(), gradient)
    # g / (|g| + eps) has the derivative 1 / eps at zero, and about none far away.
    assert derivative[:2].tolist() == pytest.approx([3e8, 3e8], rel=1e-5)
    assert derivative[2].abs() < 1e-4
