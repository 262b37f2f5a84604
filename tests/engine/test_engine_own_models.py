"""Trials with models of their own in one pass: the same objective, priors and gradient as each trial alone."""

import pytest
import torch
from core_cases import distance, images_of, model_of, no_priors, problem_of
from engine_cases import EXACT, WAYS, Odd, by_parameter, force_strategy, force_way
from reference_matcher import ReferenceMatcher

from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Targets
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import WeightedPriors

CHECKPOINTS = 3
CONVNET = {"channels": 4, "stages": 2, "layers": 1}
MODELS = {
    "convnet-bias": ("convnet", CONVNET),
    "convnet-norm": ("convnet", CONVNET | {"norm": True, "bias": False, "kernel": 5, "fc_bias": False}),
    "resnet18": ("resnet18", {"width": 0.125, "stem": "cifar"}),
    "vgg11": ("vgg11", {"width": 0.05}),
    "densenet43": ("densenet43", {"width": 0.1, "variant": 1}),
}
WEIGHTS = {"tv": 0.1, "bn": 0.03}


def problems_of(name, samples):
    """One client of each of three checkpoints of a model; neither weights nor statistics are equal."""
    architecture, options = MODELS[name]
    size = 16 if architecture == "convnet" else 32
    models = [model_of(architecture, resolution=size, seed=10 * seed, **options) for seed in range(CHECKPOINTS)]
    for layer in (layer for model in models for layer in model.modules()):
        if isinstance(layer, torch.nn.Conv2d):  # PyTorch's default weights let the signal vanish
            layer.weight.data *= 6**0.5
    return [problem_of(model, 1, samples, resolution=size) for model in models]


def together(problems):
    updates = [update for problem in problems for update in problem.updates]
    return updates, Targets.stack(updates, [update.labels for update in updates], "cpu")


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_one_pass_agrees_with_the_reference_of_every_checkpoint(name, samples):
    problems = problems_of(name, samples)
    updates, targets = together(problems)
    weights = WEIGHTS if updates[0].batch_statistics else {"tv": 0.1}
    candidates = images_of(CHECKPOINTS, samples, resolution=updates[0].image_shape[-1], seed=5)
    for objective in (OBJECTIVES["cosine"], OBJECTIVES["euclidean"]):
        matcher = ActivationMatcher([problem.model for problem in problems], targets, objective)
        found = matcher(candidates, WeightedPriors(weights, updates))
        for trial, problem in enumerate(problems):
            expected = ReferenceMatcher(problem.model, problem.targets, objective)(
                candidates[trial : trial + 1], WeightedPriors(weights, problem.updates)
            )
            part = slice(trial, trial + 1)
            assert distance(found.objective[part, None], expected.objective[:, None]) < EXACT
            assert distance(found.prior[part, None], expected.prior[:, None]) < EXACT
            assert distance(found.gradient[part], expected.gradient) < EXACT
        assert found.objective.unique().numel() == CHECKPOINTS


def test_a_trial_is_evaluated_with_its_own_weights_only():
    problems = problems_of("convnet-norm", 2)
    _, targets = together(problems)
    candidates = images_of(CHECKPOINTS, 2, seed=5)
    models = [problem.model for problem in problems]
    before = ActivationMatcher(models, targets, OBJECTIVES["cosine"])(candidates, no_priors)
    after = ActivationMatcher([models[0], models[0], models[2]], targets, OBJECTIVES["cosine"])(candidates, no_priors)
    for trial in (0, 2):
        assert torch.equal(after.objective[trial], before.objective[trial])
        assert torch.equal(after.gradient[trial], before.gradient[trial])
    assert distance(after.gradient[1:2], before.gradient[1:2]) > 0.01


def test_equal_weights_of_every_trial_give_what_the_shared_model_gives():
    problem = problem_of(model_of("resnet18", width=0.125, stem="cifar"), 3, 2)
    arguments = (problem.targets, OBJECTIVES["cosine"])
    shared = ActivationMatcher(problem.model, *arguments)(problem.candidates, no_priors)
    own = ActivationMatcher([problem.model] * 3, *arguments)(problem.candidates, no_priors)
    assert distance(own.objective[:, None], shared.objective[:, None]) < EXACT
    assert distance(own.gradient, shared.gradient) < EXACT


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "explicit"])
@pytest.mark.parametrize("way", WAYS)
def test_odd_geometries_agree_with_the_reference_in_every_way_and_strategy(monkeypatch, way, implicit):
    force_way(monkeypatch, way)
    force_strategy(monkeypatch, implicit)
    problems = [problem_of(Odd(seed), 1, 2) for seed in range(CHECKPOINTS)]
    _, targets = together(problems)
    candidates = images_of(CHECKPOINTS, 2, seed=5)
    matcher = ActivationMatcher([problem.model for problem in problems], targets, by_parameter)
    found = matcher(candidates, no_priors)
    for trial, problem in enumerate(problems):
        part = slice(trial, trial + 1)
        expected = ReferenceMatcher(problem.model, problem.targets, by_parameter)(candidates[part], no_priors)
        assert distance(found.objective[part, None], expected.objective[:, None]) < EXACT
        assert distance(found.gradient[part], expected.gradient) < EXACT
