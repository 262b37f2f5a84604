"""How a layer pairs its gradient: both strategies and both batched convolutions give the same answer."""

import pytest
import torch
from core_cases import distance, images_of, model_of, no_priors, problem_of
from reference_matcher import ReferenceMatcher
from torch import nn

from gradleak.engine import layers
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.layers import ConvArgs, TappedConv, TappedLinear, conv_per_trial, input_gradient_per_trial
from gradleak.objectives.base import OBJECTIVES


class Odd(nn.Module):
    """Strides, dilation, groups, uneven kernels and paddings that no registered model combines."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, (3, 5), stride=(2, 1), padding=(1, 0)),
            nn.Sigmoid(),
            nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2, bias=False),
            nn.Sigmoid(),
            nn.Conv2d(6, 20, 3, stride=4, padding=1),
            nn.Sigmoid(),
            nn.Conv2d(20, 24, (2, 3), stride=2),
        )
        self.fc = nn.LazyLinear(10, bias=False)
        self(torch.zeros(1, 3, 16, 16))
        self.double().eval()

    def forward(self, images):
        return self.fc(self.features(images).flatten(1))


@pytest.fixture(scope="module")
def odd():
    with torch.random.fork_rng(devices=[]):
        return Odd()


def strategies(matcher):
    return [layer._implicit for _, layer in matcher._layers if isinstance(layer, TappedConv)]


def evaluate(problem, objective="cosine"):
    matcher = ActivationMatcher(problem.model, problem.targets, OBJECTIVES[objective])
    return matcher(problem.candidates, no_priors), matcher


def reference(problem, objective="cosine"):
    return ReferenceMatcher(problem.model, problem.targets, OBJECTIVES[objective])(problem.candidates, no_priors)


def test_resnet_takes_the_implicit_strategy_in_deep_layers_and_the_explicit_one_in_early_ones():
    problem = problem_of(model_of("resnet18", width=0.125), 2, 1)
    found, matcher = evaluate(problem)
    taken = strategies(matcher)
    assert not taken[0]
    assert taken[-1]
    assert 3 <= sum(taken) <= len(taken) - 3
    assert distance(found.gradient, reference(problem).gradient) < 1e-9


@pytest.mark.parametrize("objective", ["cosine", "euclidean"])
@pytest.mark.parametrize(("trials", "samples"), [(1, 2), (3, 1), (3, 2)])
def test_both_strategies_give_the_reference_answer_in_every_layer(monkeypatch, odd, trials, samples, objective):
    for model in (odd, model_of("resnet18", width=0.125)):
        problem = problem_of(model, trials, samples)
        expected = reference(problem, objective)
        for implicit in (True, False):
            # The implicit strategy is only for ungrouped convolutions.
            monkeypatch.setattr(TappedConv, "_implicit", property(lambda s, i=implicit: i and s.args.groups == 1))
            monkeypatch.setattr(TappedLinear, "_implicit", implicit)
            found, matcher = evaluate(problem, objective)
            assert any(strategies(matcher)) == implicit
            assert distance(found.objective[:, None], expected.objective[:, None]) < 1e-9
            assert distance(found.gradient, expected.gradient) < 1e-9


@pytest.mark.parametrize("above", [0, 10**9], ids=["loop", "grouped"])
def test_looping_over_trials_and_one_grouped_convolution_agree(monkeypatch, odd, above):
    problem = problem_of(odd, 3, 2)
    expected = reference(problem)
    monkeypatch.setattr(TappedConv, "_implicit", False)
    monkeypatch.setattr(layers, "_LOOP_ABOVE", above)
    found, _ = evaluate(problem)
    assert distance(found.gradient, expected.gradient) < 1e-9


@pytest.mark.parametrize("above", [0, 10**9], ids=["loop", "grouped"])
def test_convolution_per_trial_and_its_transpose_use_each_trials_own_weight(monkeypatch, above):
    monkeypatch.setattr(layers, "_LOOP_ABOVE", above)
    args = ConvArgs((2, 1), (1, 0), (1, 2), 1)
    generator = torch.Generator().manual_seed(0)
    trials, samples = 3, 2
    x = images_of(samples, trials)
    weight = torch.randn(trials, 4, 3, 3, 3, generator=generator, dtype=torch.float64)
    y = conv_per_trial(x.flatten(0, 1), weight, args).unflatten(0, (samples, trials))
    d = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    back = input_gradient_per_trial(d.flatten(0, 1), weight, x.flatten(0, 1).shape, args).view_as(x)
    for trial in range(trials):
        leaf = x[:, trial].clone().requires_grad_()
        alone = torch.nn.functional.conv2d(leaf, weight[trial], None, *args)
        assert torch.allclose(y[:, trial], alone, rtol=1e-12, atol=1e-12)
        (expected,) = torch.autograd.grad(alone, leaf, d[:, trial])
        assert torch.allclose(back[:, trial], expected, rtol=1e-12, atol=1e-12)


def test_tapped_convolution_is_differentiable_twice_with_respect_to_its_input():
    layer = nn.Conv2d(3, 2, 3, stride=2, padding=1).double()
    tapped = TappedConv(layer, 1)
    x = images_of(2, resolution=6).requires_grad_()
    assert torch.equal(tapped(x), layer(x))
    assert torch.autograd.gradcheck(lambda x: tapped(x).sin(), x)
    assert torch.autograd.gradgradcheck(lambda x: tapped(x).sin(), x)


def test_a_model_of_linear_layers_only_is_matched():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        deep = nn.Sequential(nn.Flatten(), nn.Linear(768, 12), nn.Sigmoid(), nn.Linear(12, 10, bias=False)).double()
        flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 10)).double()
    for model in (deep, flat):
        problem = problem_of(model, 3, 2)
        found, _ = evaluate(problem)
        assert distance(found.gradient, reference(problem).gradient) < 1e-9
