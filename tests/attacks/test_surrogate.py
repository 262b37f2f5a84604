"""The surrogate point: the gradient of a model on the way from W_0 to W_U, which needs no knowledge of the client."""

import itertools
from dataclasses import replace

import pytest
import torch
from attack_cases import TINY, attack, share
from auxiliary_cases import Killed
from core_cases import CLASSES, images_of, labels_of, model_of
from pydantic import ValidationError
from reference_matcher import ReferenceMatcher

from gradleak.attacks import matching
from gradleak.attacks.base import ATTACKS, RunContext, Trial
from gradleak.attacks.matching import Problem, matcher
from gradleak.attacks.surrogate import Surrogate
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Targets
from gradleak.engine.functional import FunctionalMatcher
from gradleak.federated.client import gradient_of, parameters_of
from gradleak.federated.shared_update import SharedUpdate
from gradleak.objectives.base import OBJECTIVES

GIA_O = ATTACKS["gia-o"]
SHORT = {"iterations": 12, "lr": 0.05}


def two_steps(model, images, labels, lr=0.05):
    """The client's two steps, by hand: the model that it received, and the one that it shares."""
    start = parameters_of(model)
    weights = dict(start)
    for _ in range(2):
        step = gradient_of(model)(model, weights, images, labels)
        weights = {name: weights[name] - lr * step[name] for name in weights}
    return start, weights


def stepped(seed=0, name="convnet", **options):
    """A model in float64 and what a client of three images shares after two steps, as the server has it."""
    model = model_of(name, seed=seed, **(options or {**TINY, "norm": True}))
    images, labels = images_of(3, seed=seed), labels_of(3, seed=seed)
    start, end = two_steps(model, images, labels)
    difference = {key: end[key] - start[key] for key in start}
    update = {key: -value / 0.05 for key, value in difference.items()}
    shared = SharedUpdate(update, model, 0, 3, (3, 16, 16), CLASSES, labels, difference=difference)
    return shared, start, end


def test_the_server_has_the_difference_without_any_knowledge_of_the_rate(photos):
    update = share(photos, [1, 2], epochs=2, lr=0.1)
    assert update.difference is None  # this one was told nothing of what travelled
    shared, start, end = stepped()
    told = replace(shared, training=None).restricted(0)
    assert all(torch.equal(told.difference[name], end[name] - start[name]) for name in start)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_the_point_is_on_the_way_and_the_model_sent_stays_as_it_is(alpha):
    shared, start, end = stepped()
    model = shared.model_at(alpha)
    for name, value in parameters_of(model).items():
        wanted = start[name] + alpha * (end[name] - start[name])
        assert torch.allclose(value, wanted, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, start[name]) for name, value in parameters_of(shared.model).items())
    buffers = dict(shared.model.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert shared.model_at(0.0) is shared.model


@pytest.mark.parametrize("objective", ["cosine", "euclidean"])
def test_what_is_minimised_is_the_distance_to_the_gradient_of_a_model_interpolated_by_hand(objective):
    shared, start, end = stepped()
    given = GIA_O(objective=objective, surrogate={"alpha": [0.25, 0.75]}, descent=SHORT)
    trials = [Trial(given, shared, 1, point) for point in given.points]
    problem = Problem(trials, shared.model, RunContext(), "")
    assert isinstance(problem.evaluate, ActivationMatcher)
    candidates = images_of(2, 3, seed=5)
    found = problem.evaluate(candidates, problem.priors)
    for trial, alpha in enumerate(given.points):
        hand = model_of("convnet", **{**TINY, "norm": True})
        hand.load_state_dict(shared.model.state_dict() | {k: (1 - alpha) * start[k] + alpha * end[k] for k in start})
        target = Targets.stack([shared], [shared.labels], "cpu")
        reference = ReferenceMatcher(hand, target, OBJECTIVES[objective])
        wanted = reference(candidates[trial : trial + 1], lambda images, moments: torch.zeros(1).double())
        assert torch.allclose(found.objective[trial], wanted.objective[0], rtol=1e-10)
        assert torch.allclose(found.gradient[trial], wanted.gradient[0], rtol=1e-9, atol=1e-12)


def test_the_general_matcher_takes_a_model_per_trial_too():
    shared, *_ = stepped()
    given = GIA_O(surrogate={"alpha": [0.25, 0.75]})
    trials = [Trial(given, shared, 1, point) for point in given.points]
    models = [shared.model_at(point) for point in given.points]
    targets = Targets.stack([shared, shared], [shared.labels] * 2, "cpu")
    candidates, nothing = images_of(2, 3, seed=5), lambda images, moments: torch.zeros(2).double()
    fast = matcher(models, targets, trials[0])(candidates, nothing)
    general = FunctionalMatcher(models, targets, OBJECTIVES["cosine"])(candidates, nothing)
    assert torch.allclose(fast.objective, general.objective, rtol=1e-10)
    assert torch.allclose(fast.gradient, general.gradient, rtol=1e-9, atol=1e-12)


def test_the_clients_statistics_are_compared_at_the_model_that_it_received(photos):
    """Prior p_BN: what clients upload is of W_0, so the truth has no penalty wherever gradients are matched."""
    update = share(photos, [1, 2], epochs=2, lr=0.1)
    update = replace(update, difference={name: -0.1 * value for name, value in update.update.items()})
    given = GIA_O(priors={"bn": 1.0}, surrogate={"alpha": 1.0})
    problem = Problem([Trial(given, update, 1, 1.0)], update.model, RunContext(), "")
    truth = photos.images("test", [1, 2])[None]
    assert float(problem.evaluate(truth, problem.priors).prior) < 1e-4
    plain = Problem([Trial(given, update, 1, 0.0)], update.model, RunContext(), "")
    assert torch.allclose(plain.evaluate(truth, plain.priors).prior, problem.evaluate(truth, problem.priors).prior)


def test_of_a_single_gradient_it_changes_nothing(photos):
    update = share(photos, [1, 2])
    plain = attack(GIA_O(descent=SHORT, restarts=2), [update], RunContext())
    surrogate = attack(GIA_O(descent=SHORT, restarts=2, surrogate={"alpha": [0.25, 0.5]}), [update], RunContext())
    assert surrogate.images.shape[:2] == (1, 4)
    for name in ("images", "objective", "iterations"):
        assert torch.equal(getattr(surrogate, name)[:, ::2], getattr(plain, name))
        assert torch.equal(getattr(surrogate, name)[:, 1::2], getattr(plain, name))
    assert surrogate.points.tolist() == [[0.0] * 4]
    learned = attack(GIA_O(descent=SHORT, restarts=2, surrogate={"alpha": "learned"}), [update], RunContext())
    assert torch.equal(learned.images, plain.images)
    assert learned.points.tolist() == [[0.0] * 2]


def moved(photos, victims):
    """The update of a client with eight large steps, whose images the server does not have."""
    update = share(photos, victims, epochs=8, lr=0.1)
    difference = {name: -0.1 * value for name, value in update.update.items()}
    return replace(update, training=None, batch_statistics=None, difference=difference)


def test_every_restart_is_made_at_every_point_and_the_objective_chooses(photos):
    updates = [moved(photos, [1, 2]), moved(photos, [8, 4])]
    given = GIA_O(descent=SHORT, restarts=2, surrogate={"alpha": [0.0, 0.5, 1.0]})
    assert (given.starts, given.level) == (6, 0)
    found = attack(given, updates, RunContext())
    assert found.objective.shape == (2, 6)
    assert found.points.tolist() == [[0.0, 0.5, 1.0] * 2] * 2
    for index, alpha in enumerate(given.points):
        alone = attack(GIA_O(descent=SHORT, restarts=2, surrogate={"alpha": alpha}), updates, RunContext())
        assert torch.allclose(found.objective[:, index::3], alone.objective, rtol=1e-4)
    assert len(set(found.objective.flatten().tolist())) == 12


def test_a_learned_point_goes_where_the_candidates_fit_best():
    shared, *_ = stepped()
    truth = images_of(3, seed=0)[None]
    given = GIA_O(surrogate={"alpha": "learned"})
    problem = Problem([Trial(given, shared, 1, point) for point in given.first_points], shared.model, RunContext(), "")
    at = {}
    for point in given.points:
        fixed = Problem([Trial(GIA_O(), shared, 1, point)], shared.model, RunContext(), "")
        at[point] = float(fixed.evaluate(truth, fixed.priors).objective)
    best = min(at, key=lambda point: at[point])
    seen = [problem.points[0]]
    for _ in range(10):
        problem.evaluate.move(truth)
        seen += problem.points
    assert seen[0] == 0.5
    assert all(at[later] <= at[earlier] for earlier, later in itertools.pairwise(seen))
    assert seen[-1] == seen[-2] == best


def test_a_killed_attack_with_a_learned_point_goes_on_where_it_was(photos, tmp_path):
    updates = [moved(photos, [1, 2]), moved(photos, [8, 4])]
    given = GIA_O(descent={"iterations": 64, "lr": 0.05}, surrogate={"alpha": "learned"})
    whole = attack(given, updates, RunContext())
    assert any(point != 0.5 for point in whole.points.flatten().tolist())
    ran = 0

    def count(iterations):
        nonlocal ran
        ran += iterations
        if ran > 45:
            raise Killed

    context = RunContext(state=tmp_path, save_every_s=0, progress=count)
    with pytest.raises(Killed):
        attack(given, updates, context)
    found = attack(given, updates, RunContext(state=tmp_path))
    for name in ("images", "objective", "iterations", "points"):
        assert torch.equal(getattr(found, name), getattr(whole, name))


def test_large_models_are_attacked_one_after_another(photos, monkeypatch):
    """On a CPU one weight per trial makes a pass of several slow where weights fill the cache."""
    sizes = []
    original = GIA_O.attack_pass

    def counted(given, problem):
        sizes.append(len(problem.trials))
        return original(given, problem)

    monkeypatch.setattr(GIA_O, "attack_pass", counted)
    given = GIA_O(descent=SHORT, surrogate={"alpha": [0.25, 0.75]})
    updates = [moved(photos, [1, 2])]
    together = attack(given, updates, RunContext())
    monkeypatch.setattr(matching, "_JOINED_WEIGHTS", 10)
    apart = attack(given, updates, RunContext())
    assert sizes == [2, 1, 1]
    assert torch.allclose(together.objective, apart.objective, rtol=1e-4)


def test_labels_are_inferred_at_the_model_that_was_sent(photos):
    update = replace(moved(photos, [1, 2]), steps=8)
    hidden = replace(update, labels=torch.tensor([0, 0]))
    given = GIA_O(descent=SHORT, surrogate={"alpha": 1.0}, labels="inferred")
    inferred = attack(given, [hidden], RunContext())
    told = replace(update, labels=update.labels.sort().values)
    known = attack(GIA_O(descent=SHORT, surrogate={"alpha": 1.0}), [told], RunContext())
    assert torch.equal(inferred.images, known.images)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"surrogate": {"alpha": 1.5}}, "must be from 0"),
        ({"surrogate": {"alpha": -0.1}}, "must be from 0"),
        ({"surrogate": {"alpha": [0.5, 0.5]}}, "twice"),
        ({"surrogate": {"alpha": []}}, "must be 1 to 100"),
        ({"surrogate": {"alpha": "half"}}, "alpha"),
        ({"surrogate": {"alpha": float("nan")}}, "finite"),
        ({"surrogate": {"beta": 1}}, "beta"),
        ({"surrogate": {"alpha": 0.5}, "knowledge": "wst"}, "choose one"),
    ],
)
def test_settings_without_sense_are_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        GIA_O(**settings)


def test_one_alpha_and_a_list_of_one_are_the_same_attack():
    assert GIA_O(surrogate={"alpha": 0.5}) == GIA_O(surrogate={"alpha": [0.5]}) == GIA_O(surrogate={})
    assert "surrogate" not in GIA_O().model_dump(mode="json")
    assert Surrogate().alpha == (0.5,)
