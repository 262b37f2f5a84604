"""GIA-O end to end on photographs: it recovers them, chooses nothing by ground truth, and refuses what it lacks."""

from dataclasses import replace

import pytest
import torch
from core_cases import CLASSES

from gradleak.attacks import gia_o, matching
from gradleak.attacks.base import ATTACKS, RunContext, Trial
from gradleak.attacks.gia_o import ImageSpace
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.functional import FunctionalMatcher
from gradleak.errors import UserError
from gradleak.federated.client import batch_statistics, local_update
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.base import build_model, set_bn_mode
from gradleak.specs import ClientSpec, ModelSpec

GIA_O = ATTACKS["gia-o"]
#: Shallow and without pooling: every pixel reaches the gradient.
OPEN = {"channels": 16, "stages": 1, "layers": 2, "pool": False}
TINY = {"channels": 4, "stages": 1, "layers": 1}


def share(photos, victims, options, bn_mode="eval", **client):
    model = build_model(ModelSpec(name="convnet", options=options), CLASSES, 16, photos.mean, photos.std)
    set_bn_mode(model, bn_mode)
    images, labels = photos.images("test", victims), photos.labels("test", victims)
    spec = ClientSpec(samples=len(victims), **client)
    return SharedUpdate(
        local_update(model, images, labels, spec),
        model,
        0,
        len(victims),
        (3, 16, 16),
        CLASSES,
        labels,
        LocalTraining(spec.minibatch, spec.epochs, spec.lr),
        batch_statistics(model, images) or None,
    )


def run(settings, updates, seeds, context):
    return settings.run([Trial(settings, *pair) for pair in zip(updates, seeds, strict=True)], context)


def config(iterations, **settings):
    descent = {"iterations": iterations, "lr": 0.1, "schedule": "cosine"} | settings.pop("descent", {})
    return GIA_O(descent=descent, **settings)


def psnr(found, truth):
    return float(-10 * (found - truth).square().mean().log10())


def test_a_photograph_is_recovered_from_its_gradient(photos):
    victims = [[1], [8]]
    updates = [share(photos, victim, OPEN) for victim in victims]
    found = run(config(150, priors={"tv": 0.001}), updates, [1, 2], RunContext())
    assert found.images.shape == (2, 1, 1, 3, 16, 16)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    start = run(config(1, priors={"tv": 0.001}), updates, [1, 2], RunContext())
    assert (found.objective < 0.01 * start.objective).all()
    for trial, victim in enumerate(victims):
        truth = photos.images("test", victim)
        assert psnr(start.images[trial, 0], truth) < 12
        # Measured: 55 to 60 dB over three seeds each.
        assert psnr(found.images[trial, 0], truth) > 30


def test_each_seed_and_restart_starts_elsewhere_and_repeats_exactly(photos):
    updates = [share(photos, [1], TINY)] * 2
    settings = config(3, restarts=3)
    found = run(settings, updates, [10, 20], RunContext())
    assert found.objective.shape == found.iterations.shape == (2, 3)
    assert found.objective.dtype == torch.float64
    assert len(set(found.objective.flatten().tolist())) == 6
    again = run(settings, updates, [10, 20], RunContext())
    for name in ("images", "objective", "iterations"):
        assert torch.equal(getattr(found, name), getattr(again, name))
    assert found.iterations.tolist() == [[3] * 3] * 2


def test_passes_of_fewer_trials_find_what_one_pass_finds(photos, monkeypatch):
    updates = [share(photos, [i], TINY) for i in range(3)]
    settings = config(20, restarts=2, priors={"tv": 0.01})
    whole = run(settings, updates, [1, 2, 3], RunContext())
    monkeypatch.setattr(matching, "trials_that_fit", lambda *arguments: 4)
    parts = run(settings, updates, [1, 2, 3], RunContext())
    assert torch.allclose(whole.objective, parts.objective, rtol=1e-3)
    assert torch.allclose(whole.images, parts.images, atol=1e-2)


def test_running_out_of_memory_halves_the_trials_and_changes_no_order(photos, monkeypatch):
    updates = [share(photos, [i], TINY) for i in range(3)]
    whole = run(config(10), updates, [1, 2, 3], RunContext())
    sizes = []
    original = GIA_O.attack_pass

    def short_of_memory(given, problem):
        sizes.append(len(problem.trials))
        if len(problem.trials) > 1:
            raise torch.OutOfMemoryError("injected")
        return original(given, problem)

    monkeypatch.setattr(GIA_O, "attack_pass", short_of_memory)
    found = run(config(10), updates, [1, 2, 3], RunContext())
    assert sizes == [3, 1, 1, 1]
    assert torch.allclose(found.objective, whole.objective, rtol=1e-3)


def test_labels_are_inferred_where_asked_or_not_given(photos):
    update = share(photos, [4], TINY)
    known = run(config(3), [update], [1], RunContext())
    lied = replace(update, labels=torch.tensor([5]))
    inferred = run(config(3, labels="inferred"), [lied], [1], RunContext())
    hidden = run(config(3), [replace(update, labels=None)], [1], RunContext())
    wrong = run(config(3), [lied], [1], RunContext())
    assert torch.equal(inferred.images, known.images)
    assert torch.equal(hidden.images, known.images)
    assert not torch.equal(wrong.images, known.images)


@pytest.mark.parametrize(
    ("knowledge", "bn_mode", "expected"),
    [
        ("bst", "eval", ActivationMatcher),
        ("bst", "train", FunctionalMatcher),
        ("wst", "eval", FunctionalMatcher),
    ],
)
def test_the_matcher_fits_what_the_adversary_knows(photos, monkeypatch, knowledge, bn_mode, expected):
    taken = []
    original = matching.matcher

    def watch(*arguments):
        taken.append(original(*arguments))
        return taken[-1]

    monkeypatch.setattr(matching, "matcher", watch)
    update = share(photos, [0, 1], TINY | {"norm": True}, bn_mode=bn_mode, batch_size=1, lr=0.1)
    run(config(2, knowledge=knowledge), [update], [1], RunContext())
    assert type(taken[0]) is expected
    assert (getattr(taken[0], "_training", None) is not None) == (knowledge == "wst")


def test_knowing_the_local_steps_lowers_the_objective_at_the_victims(photos):
    from gradleak.engine.base import Targets

    update = share(photos, [0, 1], TINY, batch_size=1, epochs=2, lr=0.5)
    targets = Targets.stack([update], [update.labels], "cpu")
    truth = photos.images("test", [0, 1])[None]
    at = {}
    for knowledge in ("bst", "wst"):
        matcher = matching.matcher(update.model, targets, Trial(config(1, knowledge=knowledge), update, 0))
        at[knowledge] = float(matcher(truth, lambda images, moments: torch.zeros(1)).objective)
    assert at["wst"] < 1e-5 < at["bst"]


def test_levels_that_configurations_need():
    for settings, level in [
        ({}, 0),
        ({"priors": {"tv": 0.1}}, 1),
        ({"priors": {"tv": 0.0}}, 0),
        ({"knowledge": "wst"}, 3),
        ({"priors": {"bn": 0.1, "tv": 0.1}}, 4),
        ({"priors": {"bn": 0.1}, "knowledge": "wst"}, 4),
    ]:
        assert config(1, **settings).level == level, settings


def test_simulating_the_client_without_its_training_details_is_a_user_error(photos):
    update = share(photos, [0, 1], TINY, batch_size=1).restricted(2)
    with pytest.raises(UserError, match=r"needs the training details \(knowledge level 3\)"):
        run(config(1, knowledge="wst"), [update], [1], RunContext())


def test_bn_prior_without_statistics_is_a_user_error(photos):
    update = share(photos, [0], TINY)  # no batch normalisation
    for given in (update, share(photos, [0], TINY | {"norm": True}).restricted(3)):
        with pytest.raises(UserError, match="prior 'bn' needs batch statistics"):
            run(config(1, priors={"bn": 0.1}), [given], [1], RunContext())


@pytest.mark.parametrize(("init", "low", "high"), [("normal", -9, 9), ("uniform", -1, 1), ("grey", 0, 0)])
def test_initial_images_are_as_configured(photos, init, low, high):
    update = share(photos, [0], TINY)
    start = gia_o.start_image(init, (update.samples, *update.image_shape), torch.Generator().manual_seed(3))
    assert start.shape == (1, 3, 16, 16)
    assert start.min() >= low
    assert start.max() <= high
    spread = {"normal": 1.0, "uniform": 3**-0.5, "grey": 0.0}[init]
    assert float(start.std()) == pytest.approx(spread, abs=0.05)


def test_image_space_is_the_models_normalisation_inverted(photos):
    update = share(photos, [0], TINY)
    space = ImageSpace(update.model)
    images = photos.images("test", [0])
    assert torch.allclose(space.decode(update.model.normalise(images)), images, atol=1e-6)
    far = space.decode(space.project(torch.tensor([-50.0, 50.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)))
    assert torch.allclose(far[0], torch.zeros(3, 1, 1), atol=1e-6)
    assert torch.allclose(far[1], torch.ones(3, 1, 1), atol=1e-6)
