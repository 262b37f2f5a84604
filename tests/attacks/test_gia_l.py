"""GIA-L end to end on photographs: both stages lower the objective, trials never mix, searches resume."""

import pytest
import torch
from attack_cases import DATASET, attack, context_of, share, share_images, trained
from auxiliary_cases import Killed, Pictures, biggan_config, biggan_file, killing

from gradleak.attacks import latent_search
from gradleak.attacks.base import ATTACKS, RunContext, Trial
from gradleak.attacks.latent_search import LatentDescent
from gradleak.attacks.matching import Problem
from gradleak.auxiliary.base import TrainContext
from gradleak.data.roles import PublicImages
from gradleak.errors import UserError

GIA_L = ATTACKS["gia-l"]
RESGAN = trained("resgan", channels=4, most_channels=8, latent_size=6)
DCGAN = trained("dcgan", channels=4, latent_size=6)
BY_GRADIENT = {"method": "gradient", "descent": {"iterations": 25, "lr": 0.1, "signed": False}}
BY_EVOLUTION = {"method": "cma-es", "generations": 8, "population": 6}
WEIGHTS = {"iterations": 25, "lr": 3e-3, "signed": False}


def config(latent=BY_GRADIENT, weights=None, generator=RESGAN, **settings):
    return GIA_L(generator=generator[0], latent=latent, weights=weights, **settings)


def first(latent):
    """The same search, stopped after its start."""
    if latent["method"] == "gradient":
        return latent | {"descent": latent["descent"] | {"iterations": 1}}
    return latent | {"generations": 1}


def assert_equal(one, other):
    for name in ("images", "objective", "iterations"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("generator", [RESGAN, DCGAN])
@pytest.mark.parametrize("latent", [BY_GRADIENT, BY_EVOLUTION])
def test_the_objective_falls_in_each_stage(updates, latent, generator):
    context = context_of(generator[1])
    start, one, two = (
        attack(config(*stages, generator=generator, priors={"tv": 1e-4}), updates, context)
        for stages in ((first(latent),), (latent,), (latent, WEIGHTS))
    )
    assert (one.objective < start.objective - 1e-3).all()
    assert (two.objective < one.objective - 1e-2).all()
    assert two.images.shape == (2, 1, 2, 3, 16, 16)
    assert two.images.min() >= 0
    assert two.images.max() <= 1
    steps = 25 if latent["method"] == "gradient" else 8
    assert one.iterations.tolist() == [[steps]] * 2
    assert two.iterations.tolist() == [[steps + 25]] * 2
    assert config(latent, WEIGHTS).total_iterations == steps + 25


@pytest.fixture(scope="module")
def own(photos):
    """An image of the generator itself, its update, and a search that comes near it."""
    with torch.no_grad():
        image = RESGAN[1](torch.randn(1, 6, generator=torch.Generator().manual_seed(5)), torch.tensor([3]))
    latent = BY_GRADIENT | {"starts": 3, "descent": {"iterations": 120, "lr": 0.1, "signed": False}}
    update = share_images(photos, image, torch.tensor([3]))
    return image, update, latent, attack(config(latent), [update], context_of(RESGAN[1]))


def test_stage_two_ends_no_worse_than_stage_one_even_where_it_diverges(own):
    _, update, latent, one = own
    wild = {"iterations": 5, "lr": 5.0, "signed": True, "schedule": "constant"}
    two = attack(config(latent, wild), [update], context_of(RESGAN[1]))
    assert torch.allclose(two.objective, one.objective, atol=1e-6)
    assert torch.allclose(two.images, one.images, atol=1e-5)
    assert two.iterations.tolist() == [[365]]


def test_an_image_of_the_generator_itself_is_found(own):
    image, update, _, found = own
    start = attack(config(first(BY_GRADIENT)), [update], context_of(RESGAN[1]))
    assert found.objective[0, 0] < 0.05 * start.objective[0, 0]
    assert (found.images[0, 0] - image).abs().mean() < 0.3 * (start.images[0, 0] - image).abs().mean()


@pytest.mark.parametrize("latent", [BY_GRADIENT, BY_EVOLUTION])
def test_two_trials_at_once_find_what_each_finds_alone(updates, latent):
    settings = config(latent, WEIGHTS | {"iterations": 10})
    together = attack(settings, updates, context_of(RESGAN[1]), [1, 2])
    for trial in range(2):
        alone = attack(settings, updates[trial : trial + 1], context_of(RESGAN[1]), [trial + 1])
        assert torch.allclose(together.objective[trial], alone.objective[0], rtol=1e-3)
        assert torch.allclose(together.images[trial], alone.images[0], atol=5e-3)
    assert not torch.allclose(together.images[0], together.images[1], atol=5e-2)


def test_the_generator_itself_is_left_as_it_was(updates):
    before = {name: value.clone() for name, value in RESGAN[1].state_dict().items()}
    attack(config(weights=WEIGHTS | {"iterations": 3}), updates, context_of(RESGAN[1]))
    assert all(torch.equal(value, before[name]) for name, value in RESGAN[1].state_dict().items())


@pytest.mark.parametrize("latent", [BY_GRADIENT | {"starts": 2}, BY_EVOLUTION])
def test_a_killed_attack_repeats_exactly_and_goes_on(updates, latent, tmp_path):
    settings = config(latent, WEIGHTS)
    whole = attack(settings, updates, context_of(RESGAN[1]))
    total = settings.total_iterations
    for name, after in (("one", 5 if latent is BY_EVOLUTION else 48), ("two", total - 2)):
        kept = {"state": tmp_path / name, "save_every_s": 0}
        with pytest.raises(Killed):
            attack(settings, updates, context_of(RESGAN[1], progress=killing(after), **kept))
        counted = []
        context = context_of(RESGAN[1], progress=lambda steps, counted=counted: counted.append(steps), **kept)
        resumed = attack(settings, updates, context)
        assert_equal(resumed, whole)
        assert sum(counted) == total


def test_evolution_evaluates_nothing_again_after_it_was_killed(updates, monkeypatch, tmp_path):
    calls = []
    original = latent_search._fitness
    monkeypatch.setattr(latent_search, "_fitness", lambda *parts: calls.append(1) or original(*parts))
    kept = {"state": tmp_path, "save_every_s": 0}
    with pytest.raises(Killed):
        attack(config(BY_EVOLUTION), updates, context_of(RESGAN[1], progress=killing(6), **kept))
    assert len(calls) == 6
    attack(config(BY_EVOLUTION), updates, context_of(RESGAN[1], **kept))
    assert len(calls) == 6 + 3  # the sixth generation was not saved


def test_a_state_with_another_generator_is_not_continued(updates, tmp_path):
    kept = {"state": tmp_path, "save_every_s": 0}
    attack(config(), updates, context_of(RESGAN[1], **kept))
    other = trained("resgan", seed=1, channels=4, most_channels=8, latent_size=6)[1]
    found = attack(config(), updates, context_of(other, **kept))
    assert_equal(found, attack(config(), updates, context_of(other)))


def test_of_several_starts_the_one_with_the_best_objective_goes_on(updates):
    objectives = []

    class Watched(Problem):
        def descend(self, *arguments):
            found = super().descend(*arguments)
            objectives.append(found.objective)
            return found

    settings = config(BY_GRADIENT | {"starts": 4})
    trials = [Trial(settings, update, seed) for seed, update in enumerate(updates)]
    problem = Watched(trials, updates[0].model, context_of(RESGAN[1]), "0")
    found = LatentDescent(**BY_GRADIENT, starts=4).search(problem, RESGAN[1])
    tried = torch.stack(objectives)
    assert len(set(tried.flatten().tolist())) == 8
    assert torch.equal(found.objective, tried.min(dim=0).values)
    assert found.iterations.tolist() == [100, 100]
    images = attack(settings, updates, context_of(RESGAN[1]), [0, 1]).images
    with torch.no_grad():
        expected = RESGAN[1](found.vectors.flatten(0, 1), problem.labels.flatten()).view(2, 1, 2, 3, 16, 16)
    assert torch.equal(images, expected)
    assert torch.allclose(problem.evaluate(expected[:, 0], problem.priors).objective, found.objective, atol=1e-6)


def test_a_trained_generator_is_searched_too(photos, updates):
    given = DCGAN[0].model_copy(update={"steps": 3, "batch_size": 8})
    few = Pictures(photos.images("train", range(40)), [row % 10 for row in range(40)], classes=10)
    generator = given.train(PublicImages(few), TrainContext())
    start, end = (
        attack(config(*stages, generator=(given, generator)), updates, context_of(generator))
        for stages in ((first(BY_GRADIENT),), (BY_GRADIENT, WEIGHTS))
    )
    assert (end.objective < start.objective - 1e-2).all()


@pytest.mark.parametrize("latent", [BY_GRADIENT, BY_EVOLUTION])
def test_a_biggan_is_searched_in_both_stages(photos, updates, tmp_path, latent):
    given = biggan_config(biggan_file(tmp_path, 10), DATASET, 10, truncation=0.5)
    generator = given.train(PublicImages(photos), TrainContext())
    start, one, two = (
        attack(config(*stages, generator=(given, generator)), updates, context_of(generator))
        for stages in ((first(latent),), (latent,), (latent, WEIGHTS | {"iterations": 8}))
    )
    assert (one.objective < start.objective).all()
    assert (two.objective < one.objective).all()


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, 2),
        ({"priors": {"tv": 0.1}}, 2),
        ({"knowledge": "wst"}, 3),
        ({"priors": {"bn": 0.1}}, 4),
        ({"priors": {"bn": 0.1}, "knowledge": "wst"}, 4),
    ],
)
def test_levels_that_configurations_need(settings, level):
    assert config(**settings).level == level


def test_a_prior_on_statistics_and_simulated_training_work_with_a_generator(photos):
    updates = [share(photos, [1, 2], batch_size=1, lr=0.1)]
    for settings in ({"priors": {"bn": 1e-3}}, {"knowledge": "wst"}):
        start, end = (
            attack(config(*stages, **settings), updates, context_of(RESGAN[1]))
            for stages in ((first(BY_GRADIENT),), (BY_GRADIENT, WEIGHTS))
        )
        assert (end.objective < start.objective).all()


def test_a_generator_of_another_resolution_or_no_generator_is_one_line(photos, updates):
    larger = trained("dcgan", channels=4, latent_size=6, dataset=DATASET | {"resolution": 32})
    space = trained("rog", channels=4, blocks=1)
    for generator, message in (
        (larger, "attack.generator makes 32 pixels, the client's images have 16"),
        (space, "attack.generator: 'rog' is not a generator"),
    ):
        for weights in (None, WEIGHTS):
            with pytest.raises(UserError) as caught:
                attack(config(weights=weights, generator=generator), updates, context_of(generator[1]))
            assert str(caught.value) == message


def test_without_a_trained_generator_the_command_is_named(updates):
    with pytest.raises(UserError, match="auxiliary model 'resgan-photos10-16' is not there; run `gradleak pretrain`"):
        attack(config(), updates, RunContext())


def test_costs_count_every_evaluation():
    assert config(BY_GRADIENT | {"starts": 3}).total_iterations == 75
    assert config(BY_GRADIENT | {"starts": 3}).cost_factor() == 1
    several = config(BY_EVOLUTION, WEIGHTS)
    assert several.total_iterations * several.cost_factor() == pytest.approx(8 * 6 + 25)
    assert config().variables(context_of(RESGAN[1])) == 0
    weights = sum(value.numel() for value in RESGAN[1].parameters())
    assert config(weights=WEIGHTS).variables(context_of(RESGAN[1])) == weights
