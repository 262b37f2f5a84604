"""Whitening: what it does to a matrix, and that every matcher compares what it says."""

from dataclasses import replace

import pytest
import torch
from core_cases import model_of, no_priors, problem_of
from engine_cases import WAYS, Odd, assert_same, by_parameter, force_strategy, force_way
from reference_matcher import ReferenceMatcher

from gradleak.attacks.gia_o import GiaO
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Targets
from gradleak.engine.functional import FunctionalMatcher, OneByOneMatcher
from gradleak.engine.whitening import Whitener, Whitening
from gradleak.objectives.base import OBJECTIVES
from gradleak.specs import ClientSpec

SPEC = Whitening(power=0.15, damping=0.01)


def power_of(square, power, damping):
    """The inverse power of a symmetric matrix whose largest eigenvalue weighs the damping, by singular values."""
    left, values, _ = torch.linalg.svd(square)
    return left @ torch.diag((values + damping * values[0]) ** -power) @ left.T


GROUPED = ["features.2.weight", "features.12.weight"]  # of the odd model


def by_hand(name, value, target):
    """One parameter as whitening by its target leaves it, in words of matrices."""
    if target.dim() < 2 or name in GROUPED:
        return value * target.norm() ** (-4 * SPEC.power)
    out, fan, *cells = target.shape
    count = torch.Size(cells).numel()
    from_left, from_right = out <= fan * count, fan <= out * count
    power = SPEC.power if from_left and from_right else 2 * SPEC.power
    rows, columns = target.flatten(1), target.movedim(1, 0).flatten(1)
    if from_left:
        value = torch.einsum("ab,b...->a...", power_of(rows @ rows.T, power, SPEC.damping), value)
    if from_right:
        value = torch.einsum("ab,cb...->ca...", power_of(columns @ columns.T, power, SPEC.damping), value)
    return value


def expected_of(problem, objective, training=None):
    """What the slow matcher finds, trial by trial, where candidates and targets are whitened by hand."""
    found = []
    for trial in range(len(problem.candidates)):
        raw = {name: value[trial] for name, value in problem.targets.update.items()}
        goal = {name: by_hand(name, value, value)[None] for name, value in raw.items()}
        targets = Targets.of(goal, problem.targets.labels[trial : trial + 1])

        def compared(candidate, shared, raw=raw):
            return {name: by_hand(name, value, raw[name]) for name, value in candidate.items()}

        slow = ReferenceMatcher(problem.model, targets, objective, training, compared)
        found.append(slow(problem.candidates[trial : trial + 1], no_priors))
    parts = zip(*[(one.objective, one.prior, one.gradient) for one in found], strict=True)
    objective, prior, gradient = (torch.cat(part) for part in parts)
    return replace(found[0], objective=objective, prior=prior, gradient=gradient)


def whitened_targets(problem):
    return Targets.stack(problem.updates, list(problem.targets.labels), "cpu", SPEC)


@pytest.fixture(scope="module")
def models():
    return {"odd": Odd(), "resnet18": model_of("resnet18", width=0.125)}


@pytest.mark.parametrize("objective", [OBJECTIVES["cosine"], OBJECTIVES["euclidean"], by_parameter])
@pytest.mark.parametrize("name", ["odd", "resnet18"])
def test_matchers_compare_whitened_gradients(models, name, objective):
    problem = problem_of(models[name], 2, 2)
    expected = expected_of(problem, objective)
    for matcher in (ActivationMatcher, FunctionalMatcher, OneByOneMatcher):
        evaluate = matcher(problem.model, whitened_targets(problem), objective)
        assert_same(evaluate(problem.candidates, no_priors), expected, 1e-9)
        assert float(evaluate(problem.victims, no_priors).objective.abs().max()) < 1e-9


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("implicit", [True, False])
def test_every_strategy_does(monkeypatch, models, way, implicit):
    problem = problem_of(models["odd"], 3, 2)
    expected = expected_of(problem, by_parameter)
    force_way(monkeypatch, way)
    force_strategy(monkeypatch, implicit)
    found = ActivationMatcher(problem.model, whitened_targets(problem), by_parameter)(problem.candidates, no_priors)
    assert_same(found, expected, 1e-9)


def test_simulated_steps_are_compared_whitened(models):
    client = ClientSpec(samples=2, epochs=2, lr=0.01)
    problem = problem_of(models["resnet18"], 2, 2, client)
    training = problem.updates[0].training
    evaluate = FunctionalMatcher(problem.model, whitened_targets(problem), OBJECTIVES["cosine"], training)
    expected = expected_of(problem, OBJECTIVES["cosine"], training)
    assert_same(evaluate(problem.candidates, no_priors), expected, 1e-9)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (6, 6), (4, 5, 1, 1)])
def test_singular_values_are_raised_to_a_power(shape):
    matrix = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whitener = Whitener.of({"w": matrix}, Whitening(power=0.1, damping=1e-12))
    before, after = (torch.linalg.svdvals(value.flatten(2)) for value in (matrix, whitener({"w": matrix})["w"]))
    assert torch.allclose(after, before**0.6, rtol=1e-6)


def test_a_zero_update_stays_zero():
    update = {"w": torch.zeros(1, 4, 3, 3, 3), "b": torch.zeros(1, 4)}
    found = Whitener.of(update, Whitening())(update)
    assert all(bool((value == 0).all()) for value in found.values())


def test_a_side_that_is_too_long_for_a_decomposition_is_left_alone():
    update = {"w": torch.rand(1, 5000, 5001)}
    assert list(Whitener.of(update, Whitening()).matrices["w"]) == ["factor"]


def test_whitening_is_part_of_the_attack_only_where_it_is_asked_for():
    plain = GiaO()
    whitened = GiaO(whitening=Whitening())
    assert "whitening" not in plain.model_dump()
    assert plain.batch_key() != whitened.batch_key()
    assert plain.level == whitened.level == 0
