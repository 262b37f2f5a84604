"""How a layer pairs its gradient: both strategies give the same answer, and each is taken where it is cheaper."""

import pytest
import torch
from core_cases import images_of, model_of, no_priors, problem_of
from engine_cases import Odd, assert_same, by_parameter, force_strategy, reference_of
from torch import nn

from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.layers import TappedBatchNorm, TappedConv, TappedLinear
from gradleak.objectives.base import OBJECTIVES


@pytest.fixture(scope="module")
def models():
    return {"odd": Odd(), "resnet18": model_of("resnet18", width=0.125)}


def evaluate(problem, objective):
    matcher = ActivationMatcher(problem.model, problem.targets, objective)
    return matcher(problem.candidates, no_priors), matcher


def strategies(matcher):
    return [layer._implicit for _, layer in matcher._layers if isinstance(layer, TappedConv)]


def test_resnet_takes_the_implicit_strategy_in_deep_layers_and_the_explicit_one_in_early_ones(models):
    problem = problem_of(models["resnet18"], 2, 1)
    found, matcher = evaluate(problem, OBJECTIVES["cosine"])
    taken = strategies(matcher)
    assert not taken[0]
    assert taken[-1]
    assert 3 <= sum(taken) <= len(taken) - 3
    assert_same(found, reference_of(problem, OBJECTIVES["cosine"], no_priors))


@pytest.mark.parametrize("objective", [*(OBJECTIVES[name] for name in ("cosine", "euclidean", "layers")), by_parameter])
@pytest.mark.parametrize(("trials", "samples"), [(1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("name", ["odd", "resnet18"])
def test_both_strategies_give_the_reference_answer_in_every_layer(
    monkeypatch, models, name, trials, samples, objective
):
    problem = problem_of(models[name], trials, samples)
    expected = reference_of(problem, objective, no_priors)
    for implicit in (True, False):
        force_strategy(monkeypatch, implicit)
        found, matcher = evaluate(problem, objective)
        assert any(strategies(matcher)) == implicit
        assert_same(found, expected)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.Conv2d, {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2}),
        (nn.Conv2d, {"kernel_size": 1, "stride": (1, 2)}),  # samples its input
        (nn.Conv2d, {"kernel_size": (1, 3), "padding": (2, 1), "bias": False}),
        (nn.BatchNorm2d, {}),
        (nn.Linear, {"bias": True}),
        (nn.Linear, {"bias": False}),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_tapped_layer_is_the_layer_of_each_trial_and_differentiable_twice(kind, options, own):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = (4,) if kind is nn.BatchNorm2d else (4, 6)
        layers = [kind(*sizes, **options).double().eval() for _ in range(3)]
        for layer in layers:
            if kind is nn.BatchNorm2d:
                for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                    tensor.uniform_(0.5, 1.5)
        x = torch.rand(6, 4, *(() if kind is nn.Linear else (5, 6)), dtype=torch.float64, requires_grad=True)
    taps = {nn.Conv2d: TappedConv, nn.BatchNorm2d: TappedBatchNorm, nn.Linear: TappedLinear}
    tapped = taps[kind](layers if own else layers[:1], 3)
    y = tapped(x)
    for trial in range(3):  # trial-major: two images each
        part = slice(2 * trial, 2 * trial + 2)
        assert torch.allclose(y[part], layers[trial if own else 0](x[part]), rtol=1e-12, atol=1e-12)
    assert tapped.y is y
    assert torch.autograd.gradcheck(lambda x: tapped(x).sin(), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: tapped(x).sin(), x, fast_mode=True)


def test_a_strided_convolution_of_one_cell_looks_at_its_pixels_only():
    with torch.random.fork_rng(devices=[]):
        layer = nn.Conv2d(3, 2, 1, stride=(2, 3)).double()
    tapped = TappedConv([layer], 1)
    assert torch.allclose(tapped(images_of(2, resolution=7)), layer(images_of(2, resolution=7)), rtol=1e-12)
    assert tapped.x.shape == (2, 3, 4, 3)


def test_a_model_of_linear_layers_only_is_matched():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        deep = nn.Sequential(nn.Flatten(), nn.Linear(768, 12), nn.Sigmoid(), nn.Linear(12, 10, bias=False)).double()
        flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 10)).double()
    for model in (deep, flat):
        for samples in (2, 30):  # few samples and many: the strategies differ
            problem = problem_of(model, 3, samples)
            found, _ = evaluate(problem, by_parameter)
            assert_same(found, reference_of(problem, by_parameter, no_priors))
