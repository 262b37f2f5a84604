"""The generators dcgan and resgan: what they map, and that their training is seeded, resumes, and learns."""

import copy
from dataclasses import replace

import pytest
import torch
from auxiliary_cases import COLOURS, SIZE, Killed, Pictures, kept, killing, plain, same_weights
from pydantic import ValidationError

from gradleak.auxiliary.base import TrainContext, draw, parse_auxiliary
from gradleak.auxiliary.dcgan import DcganCritic
from gradleak.data.roles import PublicImages
from gradleak.engine import device
from gradleak.stopping import Stopped

KINDS = ("dcgan", "resgan")
PUBLIC = PublicImages(plain())


def config(name, **settings):
    given = {"channels": 4, "latent_size": 6, "steps": 4, "batch_size": 8, **settings}
    return parse_auxiliary({"name": name, "dataset": {"name": "photos10", "resolution": SIZE}, **given})


def train(parsed, context=None):
    return parsed.train(PUBLIC, context or TrainContext())


def build(parsed, classes=2):
    return parsed.build(classes)


def latents(count, size=6, seed=0):
    return draw(torch.Generator().manual_seed(seed), count, size)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_a_generator_maps_latents_to_images_of_its_resolution(name, resolution):
    dataset = {"name": "photos10", "resolution": resolution}
    model = build(config(name, dataset=dataset))
    images = model(20 * latents(3), torch.tensor([0, 1, 0]))
    assert not model.training
    assert model.resolution == resolution
    assert model.latent_size == 6
    assert images.shape == (3, 3, resolution, resolution)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0.01


def test_only_the_conditional_generator_looks_at_labels():
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    for name, looks in (("dcgan", False), ("resgan", True)):
        model = build(config(name))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
            same = torch.equal(model(latents(4), zeros), model(latents(4), ones))
        assert same != looks, name


@pytest.mark.parametrize("name", KINDS)
def test_a_training_repeats_exactly_and_depends_on_seed_and_configuration(name):
    first = train(config(name))
    torch.rand(7)  # the caller's generator must not matter
    assert same_weights(first, train(config(name)))
    assert not same_weights(first, train(config(name, seed=1)))
    assert not same_weights(first, build(config(name)))
    assert same_weights(build(config(name)), build(config(name)))


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_training_goes_on_and_gives_the_same_weights(name, tmp_path):
    whole = train(config(name, steps=7))
    with pytest.raises(Killed):
        train(config(name, steps=7), kept(tmp_path, killing(4)))
    counted = []
    resumed = train(config(name, steps=7), kept(tmp_path, counted.append))
    assert counted == [3, 1, 1, 1, 1]
    assert same_weights(whole, resumed)


def test_a_training_that_is_asked_to_end_saves_its_state_and_goes_on_from_there(tmp_path):
    steps, counted = [], []
    context = replace(kept(tmp_path, steps.append), save_every_s=1e9, stop=lambda: sum(steps) >= 4)
    with pytest.raises(Stopped, match=r"saved at iteration 4$"):
        train(config("dcgan", steps=7), context)
    resumed = train(config("dcgan", steps=7), kept(tmp_path, counted.append))
    assert counted == [4, 1, 1, 1]
    assert same_weights(train(config("dcgan", steps=7)), resumed)


def test_the_state_of_another_configuration_is_not_continued(tmp_path):
    with pytest.raises(Killed):
        train(config("dcgan"), kept(tmp_path, killing(3)))
    counted = []
    other = train(config("dcgan", seed=1), kept(tmp_path, counted.append))
    assert counted[0] == 0
    assert same_weights(other, train(config("dcgan", seed=1)))


def test_the_state_of_another_precision_is_not_continued(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        train(config("dcgan"), kept(tmp_path, killing(3)))
    monkeypatch.setattr(device, "_precision", "tf32")
    counted = []
    train(config("dcgan"), kept(tmp_path, counted.append))
    assert counted[0] == 0


def test_what_is_returned_is_the_moving_average_of_the_generator():
    parsed = config("dcgan", steps=5, average=0.3)
    generator = build(parsed)
    expected = copy.deepcopy(generator).state_dict()
    states = []
    context = TrainContext(progress=lambda steps: states.append(copy.deepcopy(generator.state_dict())))
    average = parsed.fit(generator, DcganCritic(4, SIZE), "logistic", PUBLIC, context).state_dict()
    for step, state in enumerate(states[1:]):
        keep = min(0.3, (step + 1) / (step + 10))
        for name, value in state.items():
            buffer = "running" in name or "tracked" in name
            expected[name] = value if buffer else keep * expected[name] + (1 - keep) * value
    assert len(states) == 6
    for name, value in expected.items():
        assert torch.allclose(average[name], value, atol=1e-6), name
    assert not torch.allclose(average["layers.0.weight"], states[-1]["layers.0.weight"], atol=1e-6)


def test_training_moves_samples_towards_the_data():
    dataset = plain(20)
    red = PublicImages(Pictures(dataset.pictures[::2], [0] * 10))
    parsed = config("dcgan", channels=8, steps=80, batch_size=16, lr=2e-3, average=0.9)

    def distance(model):
        with torch.no_grad():
            samples = model(latents(32), torch.zeros(32, dtype=torch.int64))
        return float((samples.mean(dim=(0, 2, 3)) - COLOURS[0]).norm())

    start, end = distance(build(parsed)), distance(parsed.train(red, TrainContext()))
    assert start > 0.5
    assert end < 0.4 * start


def test_the_conditional_generator_learns_what_belongs_to_a_label():
    parsed = config("resgan", channels=4, most_channels=8, steps=60, batch_size=16, lr=4e-3, average=0.9)
    model = train(parsed)
    labels = torch.arange(32) % 2
    with torch.no_grad():
        colours = model(latents(32), labels).mean(dim=(2, 3))
    red, blue = colours[labels == 0].mean(0), colours[labels == 1].mean(0)
    assert red[0] > red[2] + 0.2
    assert blue[2] > blue[0] + 0.2


def test_samples_are_seeded_and_take_classes_in_turn():
    for name in KINDS:
        parsed = config(name)
        model = build(parsed)
        shown = parsed.samples(model, PUBLIC, 70)
        assert shown.images.shape == (70, 3, SIZE, SIZE)
        assert len(shown.captions) == 70
        assert torch.equal(shown.images, parsed.samples(model, PUBLIC, 70).images)
        if name == "dcgan":
            assert (shown.labels, shown.captions[0]) == (None, "")
        else:
            assert shown.labels[:4].tolist() == [0, 1, 0, 1]
            assert shown.captions[:2] == ["c0", "c1"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "dcgan", "dataset": {"name": "photos10", "resolution": 24}}, "resolution is 24"),
        ({"name": "resgan", "dataset": {"name": "photos10", "resolution": 48}}, "resolution is 48"),
        ({"name": "dcgan", "dataset": {"name": "photos10"}, "widths": 3}, "widths"),
        ({"name": "dcgan", "dataset": {"name": "photos10"}, "beta1": 1.0}, "less than 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        parse_auxiliary(settings)


def test_an_id_covers_every_setting():
    first = config("dcgan")
    changes = [{"seed": 1}, {"steps": 5}, {"lr": 0.1}, {"flip": False}, {"dataset": {"name": "photos10"}}]
    assert len({first.id, *(config("dcgan", **change).id for change in changes)}) == 6
