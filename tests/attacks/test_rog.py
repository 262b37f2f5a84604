"""ROG end to end on photographs, also from updates that were quantised, sparsified, clipped or perturbed."""

from dataclasses import replace

import pytest
import torch
from attack_cases import DATASET, attack, context_of, share, trained
from auxiliary_cases import Killed, killing

from gradleak.attacks.base import ATTACKS
from gradleak.attacks.rog import CodeSpace
from gradleak.engine import device
from gradleak.errors import UserError

ROG = ATTACKS["rog"]
BICUBIC = trained("rog", channels=4, blocks=1)
AUTOENCODER = trained("rog", channels=8, blocks=1, space="autoencoder", code_channels=2)
DESCENT = {"iterations": 30, "lr": 0.05}


def config(space=BICUBIC, iterations=30, **settings):
    return ROG(space=space[0], descent=DESCENT | {"iterations": iterations}, **settings)


def test_a_photograph_comes_nearer(photos):
    updates = [share(photos, [victim]) for victim in (1, 8)]
    start, end = (
        attack(config(iterations=steps, priors={"tv": 1e-3}, enhance=False), updates, context_of(BICUBIC[1]))
        for steps in (1, 120)
    )
    truth = torch.stack([photos.images("test", [victim]) for victim in (1, 8)])[:, None]
    assert (end.objective < 0.3 * start.objective).all()
    before, after = ((found.images - truth).square().mean(dim=(1, 2, 3, 4, 5)) for found in (start, end))
    assert (after < before).all()


def signs(value, random):
    return value.sign() * value.abs().mean()


def largest(value, random):
    kept = value.abs().flatten().topk(max(1, value.numel() // 10)).values.min()
    return torch.where(value.abs() >= kept, value, 0)


def clipped(value, random):
    return 0.01 * value


def noisy(value, random):
    return value + 0.3 * value.std(correction=0) * torch.randn(value.shape, generator=random)


@pytest.mark.parametrize("space", [BICUBIC, AUTOENCODER])
@pytest.mark.parametrize("processing", [signs, largest, clipped, noisy])
def test_the_objective_falls_for_post_processed_updates(updates, processing, space):
    random = torch.Generator().manual_seed(0)
    given = [
        replace(update, update={name: processing(value, random) for name, value in update.update.items()})
        for update in updates
    ]
    start, end = (attack(config(space, iterations=steps), given, context_of(space[1])) for steps in (1, 30))
    assert (end.objective < start.objective - 0.01).all()
    assert end.images.shape == (2, 1, 2, 3, 16, 16)
    assert end.images.min() >= 0
    assert end.images.max() <= 1
    assert end.iterations.tolist() == [[30]] * 2


@pytest.mark.parametrize("space", [BICUBIC, AUTOENCODER])
def test_without_enhancement_the_coarse_image_is_returned(updates, space):
    fine = attack(config(space), updates, context_of(space[1]))
    coarse = attack(config(space, enhance=False), updates, context_of(space[1]))
    assert torch.equal(fine.objective, coarse.objective)
    with torch.no_grad():
        expected = space[1].enhance(coarse.images.flatten(0, 2)).view(coarse.images.shape)
    assert torch.allclose(fine.images, expected, atol=1e-6)
    assert not torch.allclose(fine.images, coarse.images, atol=0.05)
    if space is BICUBIC:  # what was found lies in the space: down and up again changes little
        again = space[1].decode(space[1].encode(coarse.images[0, 0]))
        assert (again - coarse.images[0, 0]).abs().mean() < 0.05


def test_codes_are_kept_between_minus_1_and_1():
    space = CodeSpace(BICUBIC[1])
    codes = torch.full((2, 3, 3, 8, 8), 5.0)
    assert torch.equal(space.project(codes), torch.ones(2, 3, 3, 8, 8))
    images = space.decode(space.project(codes))
    assert images.shape == (2, 3, 3, 16, 16)
    assert torch.allclose(images, torch.ones(()), atol=1e-5)


def test_two_trials_at_once_find_what_each_finds_alone(updates):
    settings = config(priors={"tv": 1e-3})
    together = attack(settings, updates, context_of(BICUBIC[1]), [1, 2])
    for trial in range(2):
        alone = attack(settings, updates[trial : trial + 1], context_of(BICUBIC[1]), [trial + 1])
        assert torch.allclose(together.objective[trial], alone.objective[0], rtol=1e-3)
        assert (together.images[trial] - alone.images[0]).abs().mean() < 5e-3


def test_a_killed_attack_goes_on_and_a_state_with_other_weights_does_not(updates, tmp_path):
    kept = {"state": tmp_path, "save_every_s": 0}
    whole = attack(config(), updates, context_of(BICUBIC[1]))
    with pytest.raises(Killed):
        attack(config(), updates, context_of(BICUBIC[1], progress=killing(25), **kept))
    counted = []
    resumed = attack(config(), updates, context_of(BICUBIC[1], progress=counted.append, **kept))
    assert counted[0] == 20
    assert torch.equal(resumed.images, whole.images)
    assert torch.equal(resumed.objective, whole.objective)
    other = trained("rog", seed=1, channels=4, blocks=1)[1]
    counted.clear()
    attack(config(), updates, context_of(other, progress=counted.append, **kept))
    assert counted[0] == 0


def test_a_state_of_another_precision_does_not_go_on(updates, tmp_path, monkeypatch):
    kept = {"state": tmp_path, "save_every_s": 0}
    with pytest.raises(Killed):
        attack(config(), updates, context_of(BICUBIC[1], progress=killing(25), **kept))
    monkeypatch.setattr(device, "_precision", "tf32")
    counted = []
    attack(config(), updates, context_of(BICUBIC[1], progress=counted.append, **kept))
    assert counted[0] == 0


@pytest.mark.parametrize(
    ("settings", "level"),
    [({}, 2), ({"priors": {"tv": 0.1}}, 2), ({"knowledge": "wst"}, 3), ({"priors": {"bn": 0.1}}, 4)],
)
def test_levels_that_configurations_need(settings, level):
    assert config(**settings).level == level


def test_a_space_of_another_resolution_or_no_space_is_one_line(updates):
    larger = trained("rog", channels=4, blocks=1, dataset=DATASET | {"resolution": 32})
    generator = trained("dcgan", channels=4)
    for space, message in (
        (larger, "attack.space has 32 pixels, the client's images have 16"),
        (generator, "attack.space: 'dcgan' is not a low-dimensional space; use 'rog'"),
    ):
        with pytest.raises(UserError) as caught:
            attack(config(space), updates, context_of(space[1]))
        assert str(caught.value) == message
