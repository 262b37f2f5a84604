"""Operations between layers: values equal to plain PyTorch's, and right first and second derivatives."""

import pytest
import torch
import torch.nn.functional as F
from core_cases import random
from torch import nn

from gradleak.engine.glue import CheapGlue

# Windows that overlap, are padded, dilated or go beyond the edge.
POOLINGS = {
    "plain": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 2},
    "padded": {"kernel_size": 3, "stride": 2, "padding": 1},
    "ceil": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "uneven-dilated": {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (2, 1), "padding": (0, 1)},
}
CASES = {
    "F.relu": lambda x: F.relu(x),
    "torch.relu": lambda x: torch.relu(x),
    "x.relu": lambda x: x.relu(),
    "nn.ReLU": lambda x: nn.ReLU()(x),
    "relu input=": lambda x: F.relu(input=x),
    "cat 2": lambda x: torch.cat([x, 2 * x[:, :1]], 1),
    "cat 3": lambda x: torch.cat((x, x.square(), x[:, :2]), dim=1),
    "cat negative dim": lambda x: torch.cat([x, x[..., :2].sin()], -1),
    "cat tensors=": lambda x: torch.cat(tensors=[x, x.square()], dim=2),
    "cat axis=": lambda x: torch.cat([x, x.square()], axis=1),
    "concat": lambda x: torch.concat([x, x.square()], 1),
    "cat with a constant": lambda x: torch.cat([x, torch.ones(len(x), 1, *x.shape[2:], dtype=x.dtype)], 1),
    "cat of vectors": lambda x: torch.cat([x.flatten(), x.flatten().square()]),
    "max_pool2d input=": lambda x: F.max_pool2d(input=x, kernel_size=2),
    "torch.max_pool2d": lambda x: torch.max_pool2d(x, 2),
    "max_pool2d of an image": lambda x: F.max_pool2d(x[0], 2),
    "all": lambda x: F.max_pool2d(torch.cat([x.relu(), x.sin()], 1), 2),
    **{f"pool {name}": lambda x, options=options: F.max_pool2d(x, **options) for name, options in POOLINGS.items()},
    **{f"nn pool {name}": lambda x, options=options: nn.MaxPool2d(**options)(x) for name, options in POOLINGS.items()},
}


def apart(*shape):
    """Values of which no two are close, nor any to zero: no derivative is asked for at a kink."""
    count = torch.Size(shape).numel()
    values = torch.randperm(count, generator=random(0)).double() / count - 0.5 + 0.25 / count
    return values.view(shape).requires_grad_()


def cheap(function):
    def run(x):
        with CheapGlue():
            return function(x)

    return run


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("last", [False, True], ids=["", "channels-last"])
def test_values_and_derivatives_are_those_of_plain_torch(name, last):
    plain = CASES[name]
    x = apart(2, 3, 6, 7)
    if last:
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = plain(x)
    assert torch.equal(cheap(plain)(x), y)
    d = torch.randn(y.shape, generator=random(1), dtype=torch.float64, requires_grad=True)
    u = torch.randn(x.shape, generator=random(2), dtype=torch.float64)
    found = []
    for function in (plain, cheap(plain)):
        (first,) = torch.autograd.grad(function(x), x, d, create_graph=True)
        by_d, by_x = torch.autograd.grad(first, (d, x), u, materialize_grads=True)
        found.append((first, by_d, by_x))
    for value, expected in zip(found[1], found[0], strict=True):
        assert torch.allclose(value, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_are_those_of_finite_differences(name):
    function = cheap(CASES[name])
    x = apart(2, 3, 4, 5)
    assert torch.autograd.gradcheck(lambda x: function(x).sin(), x, eps=1e-7, atol=1e-6, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: function(x).sin(), x, eps=1e-7, atol=1e-5, fast_mode=True)


def test_what_the_cheap_forms_do_not_know_is_plain_torch():
    x = apart(2, 3, 6, 6)
    with CheapGlue():
        values, indices = F.max_pool2d(x, 2, return_indices=True)
        again, places = nn.MaxPool2d(2, return_indices=True)(x)
    expected, where = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(values, expected)
    assert torch.equal(again, expected)
    assert torch.equal(indices, where)
    assert torch.equal(places, where)


@pytest.mark.parametrize("relu", [lambda y: F.relu(y, inplace=True), nn.ReLU(inplace=True), torch.relu_, F.relu_])
def test_relu_in_place_writes_in_place_and_has_its_derivatives(relu):
    x = apart(2, 3, 4, 4)

    def run(x):
        y = x.sin()
        assert relu(y) is y
        return y

    assert torch.equal(cheap(run)(x), x.sin().relu())
    assert torch.autograd.gradgradcheck(cheap(run), x, fast_mode=True)


def test_outside_of_the_context_operations_are_plain():
    x = apart(1, 3, 4, 4)
    with CheapGlue():
        assert "PiecewiseLinear" in type(F.relu(x).grad_fn).__name__
        assert "_Concatenated" in type(torch.cat([x, x], 1).grad_fn).__name__
        assert "PiecewiseLinear" in type(F.max_pool2d(x, 2).grad_fn).__name__
    for y in (F.relu(x), torch.cat([x, x], 1), F.max_pool2d(x, 2)):
        assert type(y.grad_fn).__name__[0] != "_"
        assert "PiecewiseLinear" not in type(y.grad_fn).__name__
