"""Convolutions: every way gives the same answer, packed weights too, and the table says which way is taken."""

import pytest
import torch
import torch.nn.functional as F
from core_cases import distance, no_priors, problem_of, random
from engine_cases import WAYS, Odd, assert_same, by_parameter, force_strategy, force_way, reference_of

from gradleak.engine import per_trial
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.convolutions import Constant, ConvArgs, convolution
from gradleak.engine.layout import flat, laid_out
from gradleak.engine.per_trial import OneEach, PerTrial, Row, way_of

ONE = ((1, 1), (0, 0), (1, 1), 1)
# Shape of a weight (out, in / groups, k, k), and stride, padding, dilation, groups; images are 8 x 12.
GEOMETRIES = {
    "plain": ((6, 4, 1, 1), *ONE),
    "1x1-strided": ((6, 4, 1, 1), (2, 3), (0, 0), (1, 1), 1),
    "1x1-padded": ((6, 4, 1, 1), (1, 1), (1, 0), (1, 1), 1),
    "1x1-grouped": ((6, 2, 1, 1), (1, 1), (0, 0), (1, 1), 2),
    "same": ((6, 12, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "strided-uneven": ((6, 4, 3, 5), (2, 1), (1, 0), (1, 1), 1),
    "dilated": ((6, 9, 3, 2), (1, 1), (2, 1), (2, 3), 1),
    "grouped-dilated": ((6, 2, 3, 3), (1, 1), (2, 2), (2, 2), 3),
    "grouped-strided": ((8, 2, 3, 3), (2, 2), (1, 1), (1, 1), 4),
    "depthwise": ((9, 1, 3, 3), (1, 1), (1, 1), (1, 1), 9),
    "padded-wide": ((5, 10, 2, 2), (1, 1), (2, 3), (1, 1), 1),
    "blocks": ((6, 3, 5, 3), (1, 1), (2, 1), (1, 1), 1),
    "blocks-valid": ((6, 3, 3, 3), *ONE),
    "blocks-grouped": ((6, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
}


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=random(seed), dtype=torch.float64).to(dtype)


def case(name, trials, samples):
    """Input, one weight and bias per trial, backward signals, and arguments of a geometry."""
    shape, *args = GEOMETRIES[name]
    args = ConvArgs(*args)
    x = laid_out(normal(trials * samples, shape[1] * args.groups, 8, 12))
    weights, bias = normal(trials, *shape, seed=1), normal(trials, shape[0], seed=2)
    d = laid_out(normal(*F.conv2d(x, weights[0], None, *args).shape, seed=3))
    return x, weights, bias, d, args


def by_autograd(x, weights, bias, d, args):
    """Outputs, input gradients, and weight gradients (T, ...), trial by trial."""
    found = []
    for own, weight, b, signal in zip(x.chunk(len(weights)), weights, bias, d.chunk(len(weights)), strict=True):
        leaf, w = own.clone().requires_grad_(), weight.clone().requires_grad_()
        y = F.conv2d(leaf, w, b, *args)
        found.append((y.detach(), *torch.autograd.grad(y, (leaf, w), signal)))
    ys, by_x, by_weight = zip(*found, strict=True)
    return torch.cat(ys), torch.cat(by_x), torch.stack(by_weight)


def close(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    assert distance(found[None].double(), expected[None]) < tolerance


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "explicit"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("samples", [1, 2])
def test_every_way_gives_the_reference_answer(monkeypatch, way, trials, samples, implicit):
    force_way(monkeypatch, way)
    force_strategy(monkeypatch, implicit)
    problem = problem_of(Odd(), trials, samples)
    found = ActivationMatcher(problem.model, problem.targets, by_parameter)(problem.candidates, no_priors)
    assert_same(found, reference_of(problem, by_parameter, no_priors))


@pytest.mark.parametrize(("trials", "samples"), [(1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("way", WAYS)
def test_weights_at_hand_and_constant_ones_are_each_trials_own(monkeypatch, way, name, trials, samples):
    force_way(monkeypatch, way)
    x, weights, bias, d, args = case(name, trials, samples)
    y, by_x, by_weight = by_autograd(x, weights, bias, d, args)
    operator = PerTrial(weights, args)
    close(operator.forward(x, bias), y)
    close(operator.transpose(d, x.shape), by_x)
    each = OneEach(x, d, weights.shape[1:], args, trials)
    close(each.gradient(), flat(by_weight))
    close(each.forward(flat(weights), None), by_autograd(x, weights, 0 * bias, d, args)[0])
    close(each.forward(flat(weights), bias), by_autograd(x, weights, bias, d, args)[0])
    close(each.transpose(flat(weights)), by_x)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("way", ["loop", "groups"])
def test_packed_weights_in_float32_are_those_in_float64(monkeypatch, way, trials, name):
    force_way(monkeypatch, way)
    x, weights, bias, d, args = case(name, trials, 2)
    y, by_x, _ = by_autograd(x, weights, bias, d, args)
    x, weights, bias, d = (value.float() for value in (x, weights, bias, d))
    operators = [(PerTrial(weights, args), bias)]
    if trials == 1:
        operators.append((Constant(weights[0], args), bias[0]))
    for operator, b in operators:
        for _ in range(2):  # packed anew, and kept
            found, back = operator.forward(laid_out(x), b), operator.transpose(laid_out(d), x.shape)
            assert found.dtype == back.dtype == torch.float32
            close(found, y, 1e-5)
            close(back, by_x, 1e-5)


def test_what_is_packed_and_how():
    def kinds(name):
        x, weights, _, d, args = case(name, 1, 2)
        found = Constant(weights[0].float(), args)
        found.forward(laid_out(x.float()))
        found.transpose(laid_out(d.float()), x.shape)
        return {kind for kind, _ in found._packed}

    assert kinds("same") == kinds("dilated") == {"plain", "mirrored"}
    assert kinds("blocks") == kinds("blocks-valid") == kinds("blocks-grouped") == {"plain", "blocks"}
    assert kinds("strided-uneven") == kinds("padded-wide") == {"plain"}  # the transpose is no convolution
    x, weights, _, _, args = case("same", 1, 2)
    constant = Constant(weights[0], args)
    constant.forward(x)
    assert not constant._packed  # float64


def test_a_weight_is_packed_once_for_inputs_of_one_shape():
    x, weights, bias, _, args = case("same", 1, 2)
    constant = Constant(weights[0].float(), args)
    first = constant.forward(x.float(), bias[0].float())
    (packed,) = constant._packed.values()
    assert torch.equal(constant.forward(x.float(), bias[0].float()), first)
    assert next(iter(constant._packed.values())) is packed
    constant.forward(x[:1].float())
    assert len(constant._packed) == 2


@pytest.mark.parametrize("name", ["strided-uneven", "grouped-dilated", "padded-wide", "blocks"])
@pytest.mark.parametrize("way", ["loop", "groups"])
def test_a_convolution_is_differentiable_twice_with_respect_to_its_input(monkeypatch, way, name):
    force_way(monkeypatch, way)
    x, weights, bias, _, args = case(name, 2, 1)
    leaf = x[..., :4, :8].clone().requires_grad_()
    operator = PerTrial(weights, args)
    assert torch.autograd.gradcheck(lambda x: convolution(x, operator, bias).sin(), leaf, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: convolution(x, operator, bias).sin(), leaf, fast_mode=True)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_table_of_ways_is_valid(device):
    rows = per_trial.WAYS[device]
    assert rows
    for row in rows:
        assert row.way in WAYS
        assert row.trials >= 1
        assert row.operations >= 0
        assert row.way != "product" or row.plain  # of another kernel, products of pixels are no convolution
    assert len(set(rows)) == len(rows)


def test_the_first_row_of_the_table_that_holds_is_taken(monkeypatch):
    rows = [Row("loop", trials=2), Row("loop", operations=1e6), Row("product", plain=True)]
    monkeypatch.setitem(per_trial.WAYS, "cpu", rows)
    plain = ConvArgs(*ONE)

    def way(images, trials, side=(4, 4), weight=(8, 4, 1, 1), args=plain):
        return way_of(torch.Size((images, 4, *side)), torch.Size(weight), args, trials, "cpu")

    assert way(4, 2) == "loop"
    assert way(6, 3) == "product"  # 2 * 2 * 16 * 32 operations per trial
    assert way(6, 3, side=(100, 100)) == "loop"
    assert way(6, 3, side=(62, 126)) == "product"
    assert way(6, 3, weight=(8, 4, 3, 3)) == "groups"
    per_trial.WAYS["cpu"].insert(0, Row("loop", weights=288))
    assert way(6, 3, weight=(8, 4, 3, 3)) == "loop"
    assert way(6, 3) == "product"
    for other in (plain._replace(stride=(1, 2)), plain._replace(padding=(0, 1)), plain._replace(groups=2)):
        assert way(6, 3, args=other) == "groups"
