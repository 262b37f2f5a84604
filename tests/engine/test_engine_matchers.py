"""The fast matchers against the slow, obviously correct one, and that one against finite differences."""

import pytest
import torch
from core_cases import distance, images_of, model_of, no_priors, problem_of, targets_of
from reference_matcher import ReferenceMatcher
from torch import nn

from gradleak.engine.activation import ActivationMatcher, supports
from gradleak.engine.functional import FunctionalMatcher, OneByOneMatcher
from gradleak.federated.client import gradient_of, parameters_of
from gradleak.federated.shared_update import LocalTraining
from gradleak.models.base import batch_norm_layers
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import WeightedPriors
from gradleak.specs import ClientSpec

EXACT = 1e-10
CONVNET = {"channels": 4, "stages": 2, "layers": 1}
MODELS = {
    "resnet18-cifar": lambda: model_of("resnet18", width=0.125, stem="cifar"),
    "resnet18-imagenet": lambda: model_of("resnet18", width=0.125, stem="imagenet"),
    "convnet-bias": lambda: model_of("convnet", **CONVNET),
    "convnet-no-bias": lambda: model_of("convnet", **CONVNET, bias=False),
    "convnet-norm": lambda: model_of("convnet", **CONVNET, norm=True),
    "convnet-kernel-5-padded": lambda: model_of("convnet", **CONVNET, kernel=5, padding=3, activation="sigmoid"),
}
FAST = {"activation": ActivationMatcher, "functional": FunctionalMatcher}


def weighted(problem, **weights):
    return WeightedPriors(weights, problem.updates)


def assert_same(found, expected, tolerance=EXACT):
    assert distance(found.objective[:, None], expected.objective[:, None]) < tolerance
    assert torch.allclose(found.prior, expected.prior, rtol=tolerance, atol=0)
    assert distance(found.gradient, expected.gradient) < tolerance


@pytest.fixture(scope="module")
def models():
    return {name: make() for name, make in MODELS.items()}


@pytest.mark.parametrize("objective", ["cosine", "euclidean", "layers"])
@pytest.mark.parametrize(("trials", "samples"), [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("name", list(MODELS))
def test_fast_matchers_agree_with_the_reference(models, name, trials, samples, objective):
    problem = problem_of(models[name], trials, samples)
    weights = {"tv": 0.1, "tv_sum": 0.002}
    if batch_norm_layers(problem.model):
        weights["bn"] = 0.03
    priors, distance_of = weighted(problem, **weights), OBJECTIVES[objective]
    expected = ReferenceMatcher(problem.model, problem.targets, distance_of)(problem.candidates, priors)
    assert expected.objective.dtype == torch.float64
    assert (expected.prior > 0).all()
    for fast in FAST.values():
        assert_same(fast(problem.model, problem.targets, distance_of)(problem.candidates, priors), expected)


@pytest.mark.parametrize("prior", ["tv", "tv_sum", "bn"])
@pytest.mark.parametrize("fast", list(FAST))
def test_each_prior_alone_adds_its_value_and_its_gradient(models, fast, prior):
    problem = problem_of(models["convnet-norm"], 3, 2)
    matcher = FAST[fast](problem.model, problem.targets, OBJECTIVES["cosine"])
    reference = ReferenceMatcher(problem.model, problem.targets, OBJECTIVES["cosine"])
    with_prior = matcher(problem.candidates, weighted(problem, **{prior: 0.5}))
    assert_same(with_prior, reference(problem.candidates, weighted(problem, **{prior: 0.5})))
    without = matcher(problem.candidates, weighted(problem))
    assert torch.equal(without.prior, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(without.objective, with_prior.objective)
    assert distance(with_prior.gradient, without.gradient) > 1e-3
    # Weights are linear: twice the weight adds twice the value and the gradient.
    twice = matcher(problem.candidates, weighted(problem, **{prior: 1.0}))
    assert torch.allclose(twice.prior, 2 * with_prior.prior, rtol=1e-12)
    assert distance(twice.gradient - without.gradient, 2 * (with_prior.gradient - without.gradient)) < EXACT


@pytest.mark.parametrize("name", list(MODELS))
def test_objective_vanishes_at_the_victims_and_nowhere_near_the_candidates(models, name):
    problem = problem_of(models[name], 2, 2)
    for fast in FAST.values():
        for objective in ("cosine", "euclidean", "layers"):
            matcher = fast(problem.model, problem.targets, OBJECTIVES[objective])
            assert matcher(problem.victims, no_priors).objective.abs().max() < 1e-12
            assert matcher(problem.candidates, no_priors).objective.min() > 1e-4


@pytest.mark.parametrize("objective", ["cosine", "euclidean", "layers"])
@pytest.mark.parametrize("matcher", [ActivationMatcher, FunctionalMatcher, ReferenceMatcher])
def test_gradient_is_that_of_central_finite_differences(matcher, objective):
    model = model_of("convnet", channels=4, stages=1, layers=2, pool=False, activation="sigmoid", norm=True)
    problem = problem_of(model, 2, 2)
    priors = weighted(problem, bn=0.05)  # smooth, as the model is; total variation has kinks
    evaluate = matcher(problem.model, problem.targets, OBJECTIVES[objective])
    gradient = evaluate(problem.candidates, priors).gradient
    step = 1e-4
    for direction in (images_of(2, 2, seed=seed) - 0.5 for seed in range(3)):

        def total(offset, direction=direction):
            at = evaluate(problem.candidates + offset * direction, priors)
            return at.objective + at.prior

        differences = (total(step) - total(-step)) / (2 * step)
        slopes = (gradient * direction).sum(dim=(1, 2, 3, 4))
        assert torch.allclose(slopes, differences, rtol=1e-5, atol=1e-9)
        assert slopes.abs().min() > 1e-5
    flat = gradient.flatten()
    for pixel in range(0, flat.numel(), flat.numel() // 12):
        offset = torch.zeros_like(flat)
        offset[pixel] = step
        offset = offset.view_as(gradient)
        up, down = evaluate(problem.candidates + offset, priors), evaluate(problem.candidates - offset, priors)
        difference = (up.objective + up.prior - down.objective - down.prior).sum() / (2 * step)
        assert float(flat[pixel]) == pytest.approx(float(difference), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["resnet18-cifar", "convnet-norm"])
@pytest.mark.parametrize("fast", list(FAST))
def test_trials_do_not_influence_each_other(models, fast, name):
    problem = problem_of(models[name], 3, 2)
    weights = {"tv": 0.1, "bn": 0.1}
    matcher = FAST[fast](problem.model, problem.targets, OBJECTIVES["cosine"])
    before = matcher(problem.candidates, weighted(problem, **weights))
    changed = problem.candidates.clone()
    changed[1] = images_of(2, seed=99)
    after = matcher(changed, weighted(problem, **weights))
    for trial in (0, 2):
        assert torch.equal(after.objective[trial], before.objective[trial])
        assert torch.equal(after.prior[trial], before.prior[trial])
        assert torch.equal(after.gradient[trial], before.gradient[trial])
    assert distance(after.gradient[1:2], before.gradient[1:2]) > 0.01


@pytest.mark.parametrize(
    ("samples", "batch", "epochs"), [(2, 1, 2), (3, 2, 2), (2, 2, 4), (4, 1, 1)], ids=["2x1x2", "ragged", "full", "one"]
)
@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("objective", ["cosine", "euclidean", "layers"])
def test_unrolled_local_steps_agree_with_the_reference(models, samples, batch, epochs, trials, objective):
    client = ClientSpec(samples=samples, batch_size=batch, epochs=epochs, lr=0.1)
    assert client.updates == 4
    problem = problem_of(models["convnet-norm"], trials, samples, client)
    training = problem.updates[0].training
    arguments = (problem.model, problem.targets, OBJECTIVES[objective])
    priors = weighted(problem, tv=0.1, bn=0.01)
    found = FunctionalMatcher(*arguments, training)(problem.candidates, priors)
    assert_same(found, ReferenceMatcher(*arguments, training)(problem.candidates, priors))
    # It simulates the client: exact at the victims, which the one-step view is not.
    assert FunctionalMatcher(*arguments, training)(problem.victims, no_priors).objective.abs().max() < 1e-12
    assert FunctionalMatcher(*arguments)(problem.victims, no_priors).objective.abs().min() > 1e-6


def test_unrolled_gradient_is_that_of_central_finite_differences():
    model = model_of("convnet", channels=3, stages=1, layers=1, pool=False, activation="sigmoid")
    problem = problem_of(model, 2, 2, ClientSpec(samples=2, batch_size=1, epochs=2, lr=0.2))
    arguments = (problem.model, problem.targets, OBJECTIVES["euclidean"])
    evaluate = FunctionalMatcher(*arguments, problem.updates[0].training)
    gradient = evaluate(problem.candidates, no_priors).gradient
    direction, step = images_of(2, 2, seed=5) - 0.5, 1e-4
    up = evaluate(problem.candidates + step * direction, no_priors).objective
    down = evaluate(problem.candidates - step * direction, no_priors).objective
    assert torch.allclose((gradient * direction).sum(dim=(1, 2, 3, 4)), (up - down) / (2 * step), rtol=1e-6)


OPTIMIZERS = {
    "momentum": {"momentum": 0.9},
    "decay": {"weight_decay": 0.1},
    "adam": {"optimizer": "adam"},
    "adam-decay": {"optimizer": "adam", "weight_decay": 0.1},
}


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("options", list(OPTIMIZERS))
def test_every_optimizer_is_simulated_by_every_matcher(models, monkeypatch, options, trials):
    client = ClientSpec(samples=3, batch_size=2, epochs=2, lr=0.01, **OPTIMIZERS[options])
    problem = problem_of(models["convnet-norm"], trials, 3, client)
    arguments = (problem.model, problem.targets, OBJECTIVES["cosine"], problem.updates[0].training)
    expected = ReferenceMatcher(*arguments)(problem.candidates, no_priors)
    assert bool(expected.gradient.isfinite().all())
    for kind, way in ((FunctionalMatcher, "together"), (OneByOneMatcher, "alone")):
        monkeypatch.setattr(problem.model, "way", way)
        assert_same(kind(*arguments)(problem.candidates, no_priors), expected, 1e-8)
        assert kind(*arguments)(problem.victims, no_priors).objective.abs().max() < 1e-10
    monkeypatch.undo()
    plain = LocalTraining(batch_size=2, epochs=2, lr=0.01)
    assert FunctionalMatcher(*arguments[:3], plain)(problem.victims, no_priors).objective.abs().min() > 1e-4


def test_the_order_of_a_client_that_shuffles_is_not_simulated(models):
    client = ClientSpec(samples=4, batch_size=2, epochs=3, lr=0.2, shuffle=True)
    problem = problem_of(models["convnet-norm"], 2, 4, client)
    arguments = (problem.model, problem.targets, OBJECTIVES["cosine"])
    found = FunctionalMatcher(*arguments, problem.updates[0].training)(problem.candidates, no_priors)
    given = LocalTraining(batch_size=2, epochs=3, lr=0.2)
    assert_same(found, FunctionalMatcher(*arguments, given)(problem.candidates, no_priors))
    assert FunctionalMatcher(*arguments, given)(problem.victims, no_priors).objective.abs().min() > 1e-6


@pytest.mark.parametrize(("kind", "way"), [(FunctionalMatcher, "together"), (OneByOneMatcher, "alone")])
@pytest.mark.parametrize("options", list(OPTIMIZERS))
def test_simulated_optimizers_have_the_gradient_of_central_finite_differences(options, kind, way):
    model = model_of("convnet", channels=3, stages=1, layers=1, pool=False, activation="sigmoid")
    model.way = way
    client = ClientSpec(samples=2, batch_size=1, epochs=2, lr=0.02, **OPTIMIZERS[options])
    problem = problem_of(model, 2, 2, client)
    evaluate = kind(problem.model, problem.targets, OBJECTIVES["cosine"], problem.updates[0].training)
    gradient = evaluate(problem.candidates, no_priors).gradient
    direction, step = images_of(2, 2, seed=5) - 0.5, 1e-5
    up = evaluate(problem.candidates + step * direction, no_priors).objective
    down = evaluate(problem.candidates - step * direction, no_priors).objective
    assert torch.allclose((gradient * direction).sum(dim=(1, 2, 3, 4)), (up - down) / (2 * step), rtol=1e-4)


@pytest.mark.parametrize("trials", [1, 3])
def test_functional_matcher_serves_batch_normalisation_of_the_mini_batch(trials):
    model = model_of("convnet", **CONVNET, norm=True, bn_mode="train")
    assert not supports(model)
    problem = problem_of(model, trials, 3)
    priors = weighted(problem, bn=0.1)
    arguments = (problem.model, problem.targets, OBJECTIVES["cosine"])
    found = FunctionalMatcher(*arguments)(problem.candidates, priors)
    assert_same(found, ReferenceMatcher(*arguments)(problem.candidates, priors))
    assert FunctionalMatcher(*arguments)(problem.victims, no_priors).objective.abs().max() < 1e-12


@pytest.mark.parametrize("trials", [1, 2])
def test_functional_matcher_serves_attention(trials):
    model = model_of("swin", resolution=32, width=0.1)
    assert not supports(model)
    problem = problem_of(model, trials, 2, resolution=32)
    arguments = (problem.model, problem.targets, OBJECTIVES["cosine"])
    found = FunctionalMatcher(*arguments)(problem.candidates, no_priors)
    assert_same(found, ReferenceMatcher(*arguments)(problem.candidates, no_priors))
    assert FunctionalMatcher(*arguments)(problem.victims, no_priors).objective.abs().max() < 1e-12


@pytest.mark.parametrize("trials", [1, 3])
def test_functional_matcher_matches_what_is_expected_after_post_processing(models, trials):
    def kept(candidate, shared):
        return {name: value * (shared[name].abs() > 1e-3) for name, value in candidate.items()}

    def squashed(candidate, shared):
        return {name: torch.tanh(50 * value) for name, value in candidate.items()}

    problem = problem_of(models["convnet-norm"], trials, 2)
    arguments = (problem.model, problem.targets, OBJECTIVES["cosine"], None)
    plain = FunctionalMatcher(*arguments)(problem.candidates, no_priors)
    for expectation in (kept, squashed):
        found = FunctionalMatcher(*arguments, expectation)(problem.candidates, no_priors)
        assert_same(found, ReferenceMatcher(*arguments, expectation)(problem.candidates, no_priors))
        assert not torch.allclose(found.objective, plain.objective, rtol=1e-3)


def test_a_gradient_view_of_whole_layers_is_matched_and_one_that_splits_a_layer_refused(models):
    problem = problem_of(models["convnet-bias"], 2, 2)
    names = [name for name in problem.targets.update if not name.endswith(("fc.weight", "fc.bias"))]
    assert 0 < len(names) < len(problem.targets.update)

    def view(names):
        update = {name: problem.targets.update[name] for name in names}
        return targets_of(update, problem.targets.labels)

    expected = ReferenceMatcher(problem.model, view(names), OBJECTIVES["cosine"])(problem.candidates, no_priors)
    for fast in FAST.values():
        assert_same(fast(problem.model, view(names), OBJECTIVES["cosine"])(problem.candidates, no_priors), expected)
    with pytest.raises(ValueError, match=r"a gradient view takes whole layers; of network\.fc\.weight"):
        ActivationMatcher(problem.model, view([*names, "network.fc.bias"]), OBJECTIVES["cosine"])
    assert supports(problem.model, names)
    assert not supports(problem.model, [*names, "network.fc.bias"])


def test_the_model_is_left_as_it_was(models):
    problem = problem_of(models["convnet-norm"], 2, 2)
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    kinds = [type(module) for module in problem.model.modules()]
    for matcher in (*FAST.values(), ReferenceMatcher):
        matcher(problem.model, problem.targets, OBJECTIVES["cosine"])(problem.candidates, weighted(problem, bn=1.0))
    assert all(torch.equal(before[name], value) for name, value in problem.model.state_dict().items())
    assert [type(module) for module in problem.model.modules()] == kinds
    assert not any(module._forward_pre_hooks for module in problem.model.modules())


def test_targets_stack_rows_and_squared_norms_per_trial_and_parameter(models):
    problem = problem_of(models["convnet-bias"], 3, 2)
    for trial, update in enumerate(problem.updates):
        for place, (name, value) in enumerate(update.update.items()):
            assert float(problem.targets.norm2[trial, place]) == pytest.approx(float(value.norm()) ** 2, rel=1e-12)
            assert torch.equal(problem.targets.update[name][trial], value)


def test_supports_refuses_layers_that_cannot_be_tapped():
    assert supports(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)))
    for layer in (
        nn.GroupNorm(1, 3),
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(3, track_running_stats=False),
    ):
        assert not supports(nn.Sequential(layer, nn.Conv2d(3, 3, 1)))


def test_objectives_are_cosine_distance_and_squared_euclidean_distance(models):
    problem = problem_of(models["convnet-bias"], 1, 2)
    names = list(problem.targets.update)
    model = problem.model
    own = gradient_of(model)(model, parameters_of(model), problem.candidates[0], problem.targets.labels[0])
    g = torch.cat([own[name].flatten() for name in names])
    t = torch.cat([problem.targets.update[name][0].flatten() for name in names])
    expected = {
        "cosine": 1 - torch.nn.functional.cosine_similarity(g, t, dim=0),
        "euclidean": (g - t).square().sum(),
    }
    for name, value in expected.items():
        found = ActivationMatcher(problem.model, problem.targets, OBJECTIVES[name])(problem.candidates, no_priors)
        assert float(found.objective) == pytest.approx(float(value), rel=1e-12)


@pytest.mark.parametrize("objective", ["cosine", "euclidean", "layers"])
@pytest.mark.parametrize("matcher", [FunctionalMatcher, OneByOneMatcher])
def test_a_simulation_that_overflows_counts_as_an_update_of_zero(models, matcher, objective):
    """A rate at which the client itself just ends in finite weights: candidates may not."""
    model, count = models["convnet-norm"], 3
    problem = problem_of(model, count, 2, ClientSpec(samples=2, epochs=3, lr=0.01))
    wild = LocalTraining(batch_size=2, epochs=4, lr=1e200)
    found = matcher(model, problem.targets, OBJECTIVES[objective], wild)(problem.candidates, no_priors)
    zero = torch.zeros_like(problem.targets.norm2)
    assert torch.equal(found.objective, OBJECTIVES[objective](zero, zero, problem.targets.norm2))
    assert not found.gradient.any()
    tame = LocalTraining(batch_size=2, epochs=3, lr=0.01)
    usual = matcher(model, problem.targets, OBJECTIVES[objective], tame)(problem.candidates, no_priors)
    assert usual.gradient.flatten(1).any(dim=1).all()
