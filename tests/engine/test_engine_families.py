"""The fast matcher against the slow one on a narrow instance of every family of models, one image each."""

import pytest
import torch
from core_cases import distance, model_of, no_priors, problem_of, targets_of
from reference_matcher import ReferenceMatcher
from torch import nn

from gradleak.engine.activation import ActivationMatcher, supports
from gradleak.models.structure import block_parameters
from gradleak.objectives.base import OBJECTIVES

EXACT = 1e-10
FAMILIES = {
    "vgg11": {"width": 0.05},
    "resnet50": {"width": 0.04},
    "resnet18": {"width": 0.06, "cut": 2},
    "densenet121": {"width": 0.06},
    "densenet43": {"width": 0.1, "variant": 1},
    "densenet53": {"width": 0.1, "variant": 2},
    "googlenet": {"width": 0.12},
    "inception_v3": {"width": 0.06},
    "convnet64": {"width": 0.05},
}


def alive(name):
    """A narrow model whose signal survives its depth: PyTorch's default weights shrink it by 6^(1/2) per ReLU layer."""
    model = model_of(name, resolution=32, **FAMILIES[name])
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight *= 6**0.5
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_fast_matcher_agrees_with_the_reference(name):
    model = alive(name)
    assert supports(model)
    problem = problem_of(model, 1, 1, resolution=32)
    arguments = (problem.model, problem.targets, OBJECTIVES["cosine"])
    expected = ReferenceMatcher(*arguments)(problem.candidates, no_priors)
    found = ActivationMatcher(*arguments)(problem.candidates, no_priors)
    assert distance(found.objective[:, None], expected.objective[:, None]) < EXACT
    assert distance(found.gradient, expected.gradient) < EXACT
    assert float(expected.objective) > 1e-4
    assert float(ActivationMatcher(*arguments)(problem.victims, no_priors).objective.abs().max()) < 1e-10


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_gradient_of_one_net_in_net_block_is_matched(name):
    problem = problem_of(alive(name), 1, 1, resolution=32)
    update = {key: problem.targets.update[key] for key in block_parameters(problem.model, "nin1")}
    targets = targets_of(update, problem.targets.labels)
    expected = ReferenceMatcher(problem.model, targets, OBJECTIVES["cosine"])(problem.candidates, no_priors)
    found = ActivationMatcher(problem.model, targets, OBJECTIVES["cosine"])(problem.candidates, no_priors)
    assert distance(found.objective[:, None], expected.objective[:, None]) < EXACT
    assert distance(found.gradient, expected.gradient) < EXACT
    assert float(expected.objective) > 1e-4
