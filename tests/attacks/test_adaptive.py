"""The adaptive adversary: what it matches after post-processing, that it pays, and what it must know."""

from dataclasses import replace

import pytest
import torch
from attack_cases import attack, context_of, share, trained
from core_cases import no_priors

from gradleak.attacks import matching
from gradleak.attacks.base import ATTACKS, RunContext, Trial
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Targets
from gradleak.engine.functional import FunctionalMatcher
from gradleak.errors import UserError
from gradleak.post_processing.base import DEFENSES
from gradleak.post_processing.chain import apply_chain

GIA_O = ATTACKS["gia-o"]


def protected(photos, *chain, victims=(0,)):
    """A shared update after a chain of (name, settings), and the chain."""
    steps = tuple(DEFENSES[name](**settings) for name, settings in chain)
    update = share(photos, list(victims))
    sent = apply_chain(steps, dict(update.update), torch.Generator().manual_seed(5))
    return replace(update, update=sent.update, post_processing=steps)


def config(iterations=1, **settings):
    return GIA_O(descent={"iterations": iterations, "lr": 0.1, "schedule": "cosine"}, **settings)


def matcher_of(settings, update):
    targets = Targets.stack([update], [update.labels], "cpu")
    return matching.matcher(update.model, targets, Trial(settings, update, 0))


@pytest.mark.parametrize(
    ("chain", "objective"),
    [
        ([("top_k", {"ratio": 0.9})], "cosine"),
        ([("clip", {"bound": 0.01})], "euclidean"),
        ([("clip", {"bound": 0.01}), ("top_k", {"ratio": 0.8})], "euclidean"),
    ],
)
def test_at_the_victims_an_adaptive_objective_vanishes_and_a_plain_one_does_not(photos, chain, objective):
    update = protected(photos, *chain)
    truth = photos.images("test", [0])[None]

    def at_truth(adaptive):
        settings = config(objective=objective, adaptive=adaptive)
        return float(matcher_of(settings, update)(truth, no_priors).objective)

    scale = 1.0 if objective == "cosine" else float(sum(value.square().sum() for value in update.update.values()))
    assert at_truth(True) < 1e-5 * scale
    assert at_truth(False) > 1e-2 * scale


def test_knowing_the_defense_pays(photos):
    for chain in ([("top_k", {"ratio": 0.99})], [("signsgd", {})]):
        updates = [protected(photos, *chain, victims=[victim]) for victim in range(3)]
        error = {}
        for adaptive in (False, True):
            settings = config(100, priors={"tv": 0.01}, adaptive=adaptive)
            found = settings.run([Trial(settings, update, 1) for update in updates], RunContext()).images[:, 0, 0]
            error[adaptive] = float((found - photos.images("test", [0, 1, 2])).square().mean())
        assert error[True] < 0.9 * error[False], chain


@pytest.mark.parametrize(
    ("chain", "fast"),
    [
        ([], True),
        ([("qsgd", {"bits": 2})], True),  # unbiased: nothing else to match
        ([("noise", {"multiplier": 0.1})], True),
        ([("signsgd", {})], False),
        ([("qsgd", {"bits": 2}), ("top_k", {"ratio": 0.5})], False),
    ],
)
def test_the_general_matcher_is_taken_only_where_the_chain_has_a_bias(photos, chain, fast):
    update = protected(photos, *chain)
    assert isinstance(matcher_of(config(adaptive=True), update), ActivationMatcher if fast else FunctionalMatcher)
    assert isinstance(matcher_of(config(adaptive=False), update), ActivationMatcher)


def test_an_adaptive_attack_needs_level_3_and_says_so(photos):
    assert config(adaptive=True).level == 3
    assert "adaptive" not in config().model_dump()
    update = protected(photos, ("top_k", {"ratio": 0.5})).restricted(2)
    with pytest.raises(UserError, match=r"needs the post-processing \(knowledge level 3\)"):
        attack(config(adaptive=True), [update], RunContext())


@pytest.mark.parametrize("name", ["gia-l", "rog"])
def test_attacks_in_other_spaces_match_through_the_defense_too(photos, name):
    """What they minimise is the adaptive objective of the images that they return."""
    if name == "rog":
        space, model = trained("rog", channels=4, blocks=1)
        settings = {"space": space, "enhance": False, "descent": {"iterations": 10}}
    else:
        generator, model = trained("dcgan", channels=4, latent_size=6)
        latent = {"method": "gradient", "descent": {"iterations": 5, "lr": 0.1, "signed": False}}
        settings = {"generator": generator, "latent": latent, "weights": {"iterations": 5, "lr": 1e-3}}
    update = protected(photos, ("top_k", {"ratio": 0.9}))
    known = ATTACKS[name](adaptive=True, **settings)
    assert known.level == 3
    found = attack(known, [update], context_of(model))
    images = found.images[0]
    assert float(matcher_of(known, update)(images, no_priors).objective) == pytest.approx(
        float(found.objective), rel=1e-3
    )
    plain = ATTACKS[name](**settings)
    assert abs(float(matcher_of(plain, update)(images, no_priors).objective) - float(found.objective)) > 1e-2
