"""Objectives by layer: every matcher has their value and gradient, whatever they weigh, choose or leave out."""

import pytest
import torch
from core_cases import images_of, model_of, no_priors, problem_of, targets_of
from engine_cases import assert_same, by_parameter, reference_of
from reference_matcher import ReferenceMatcher

from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.functional import FunctionalMatcher, OneByOneMatcher
from gradleak.objectives.base import OBJECTIVES


def weighted(inner, norm2, target_norm2):
    """Later parameters count more."""
    weights = torch.arange(1, inner.shape[1] + 1, dtype=inner.dtype, device=inner.device)
    return ((norm2 - 2 * inner + target_norm2) / target_norm2 * weights).sum(1)


def chosen(inner, norm2, target_norm2):
    """Cosine distance of the second, third and last parameter."""
    inner, norm2, target_norm2 = (each[:, [1, 2, -1]].sum(1) for each in (inner, norm2, target_norm2))
    return 1 - inner / (norm2 * target_norm2).sqrt()


def inner_only(inner, norm2, target_norm2):
    """Does not depend on <g, g>."""
    return 1 - (inner / target_norm2).mean(1)


def norm_only(inner, norm2, target_norm2):
    """Does not depend on <g, g*>."""
    return (norm2 / target_norm2 - 1).square().sum(1)


BY_LAYER = [by_parameter, weighted, chosen, inner_only, norm_only]
FAST = [ActivationMatcher, FunctionalMatcher, OneByOneMatcher]


@pytest.fixture(scope="module")
def models():
    return {
        "convnet": model_of("convnet", channels=4, stages=2, layers=1, norm=True, activation="sigmoid", pool=False),
        "resnet18": model_of("resnet18", width=0.125, stem="cifar"),
    }


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("name", ["convnet", "resnet18"])
@pytest.mark.parametrize("objective", BY_LAYER)
def test_all_matchers_agree_with_the_reference(models, objective, name, trials):
    problem = problem_of(models[name], trials, 2)
    expected = reference_of(problem, objective, no_priors)
    for fast in FAST:
        assert_same(fast(problem.model, problem.targets, objective)(problem.candidates, no_priors), expected)
    for other in BY_LAYER:
        if other is not objective:
            assert not torch.allclose(reference_of(problem, other, no_priors).objective, expected.objective, rtol=1e-3)


@pytest.mark.parametrize("matcher", [*FAST, ReferenceMatcher])
@pytest.mark.parametrize("objective", BY_LAYER)
def test_gradients_are_those_of_central_finite_differences(models, matcher, objective):
    problem = problem_of(models["convnet"], 2, 2)
    evaluate = matcher(problem.model, problem.targets, objective)
    gradient = evaluate(problem.candidates, no_priors).gradient
    direction, step = images_of(2, 2, seed=5) - 0.5, 1e-4
    up = evaluate(problem.candidates + step * direction, no_priors).objective
    down = evaluate(problem.candidates - step * direction, no_priors).objective
    slopes = (gradient * direction).sum(dim=(1, 2, 3, 4))
    assert torch.allclose(slopes, (up - down) / (2 * step), rtol=1e-4)
    assert slopes.abs().min() > 1e-6


def column(kind, place):
    """The objective that is one number of one parameter."""
    return lambda *numbers: numbers[kind][:, place] + 0 * numbers[1].sum(1)


@pytest.mark.parametrize("matcher", [*FAST, ReferenceMatcher])
def test_columns_are_the_matched_parameters_in_the_updates_order(models, matcher):
    problem = problem_of(models["convnet"], 2, 2)
    names = list(problem.targets.update)
    view = [name for name in reversed(names) if "fc" not in name]
    for order in (names, view):
        targets = targets_of({name: problem.targets.update[name] for name in order}, problem.targets.labels)
        for place, name in enumerate(order):
            expected = problem.targets.update[name].flatten(1).square().sum(1)
            for kind in range(3):  # at the victims all three numbers are equal
                evaluate = matcher(problem.model, targets, column(kind, place))
                assert torch.allclose(evaluate(problem.victims, no_priors).objective, expected, rtol=1e-10)


def test_the_two_distances_are_of_whole_gradients():
    inner, norm2, target = (torch.tensor([row], dtype=torch.float64) for row in ([1, 2], [4, 5], [9, 7]))
    assert OBJECTIVES["euclidean"](inner, norm2, target).tolist() == [9 + 16 - 6]
    assert OBJECTIVES["cosine"](inner, norm2, target).tolist() == pytest.approx([1 - 3 / 12])


def test_the_distance_of_layers_weighs_each_by_the_root_of_its_norm():
    inner, norm2, target = (torch.tensor([row], dtype=torch.float64) for row in ([1, 2], [4, 1], [16, 81]))
    expected = (2 * (1 - 1 / 8) + 3 * (1 - 2 / 9)) / 5
    assert OBJECTIVES["layers"](inner, norm2, target).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("norms", [([0, 1], [9, 9]), ([4, 1], [0, 9]), ([0, 0], [0, 0])])
def test_layers_without_a_gradient_do_not_drown_the_others(norms):
    norm2, target = (torch.tensor([row], dtype=torch.float64) for row in norms)
    inner = (0.5 * (norm2 * target).sqrt()).requires_grad_()
    norm2.requires_grad_()
    objective = OBJECTIVES["layers"](inner, norm2, target)
    derivatives = torch.autograd.grad(objective.sum(), (inner, norm2))
    assert bool(objective.isfinite())
    assert all(bool((value.abs() <= 1).all()) for value in derivatives)
