"""The numbers by which a generator is judged."""

import pytest
import torch
from auxiliary_cases import plain

from gradleak.auxiliary import quality
from gradleak.auxiliary.base import Samples, some
from gradleak.auxiliary.quality import generator_quality
from gradleak.data.roles import PublicImages, TuningImages


def distance(truth, found):
    return (truth - found).abs().mean(dim=(1, 2, 3))


def judged(dataset, samples):
    return generator_quality(samples, PublicImages(dataset), TuningImages(dataset), distance)


@pytest.fixture(scope="module")
def few():
    # Enough for a data set of two colours.
    patch = pytest.MonkeyPatch()
    patch.setattr(quality, "_CLASSIFIER_STEPS", 40)
    yield
    patch.undo()


def real(dataset, count=20, wrong=False):
    images, labels = dataset.images("test", range(count)), dataset.labels("test", range(count))
    return Samples(images, [""] * count, 1 - labels if wrong else labels)


@pytest.mark.usefixtures("few")
def test_copies_of_public_images_are_found_out():
    dataset = plain()
    public = PublicImages(dataset)
    found = judged(dataset, Samples(public.images(range(10)), [""] * 10))
    assert found["nearest_lpips"] == 0
    assert found["nearest_lpips_real"] > 0.005
    assert "classifier_accuracy" not in found
    assert found["classes_seen"] == 1


@pytest.mark.usefixtures("few")
def test_real_images_of_an_easy_set_are_all_recognised_and_wrong_labels_are_not():
    dataset, unseen = plain(), plain(seed=1)
    found = judged(dataset, real(unseen))
    assert found["classifier_accuracy"] == found["classifier_accuracy_real"] == found["classes_seen"] == 1
    assert found["nearest_lpips"] == pytest.approx(found["nearest_lpips_real"], rel=0.1)
    assert judged(dataset, real(unseen, wrong=True))["classifier_accuracy"] == 0


@pytest.mark.usefixtures("few")
def test_noise_is_far_from_data_and_one_class_is_half_of_two():
    dataset = plain()
    noise = torch.rand(10, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert judged(dataset, Samples(noise, [""] * 10))["nearest_lpips"] > 0.2
    red = dataset.images("test", range(0, 20, 2))
    assert judged(dataset, Samples(red, [""] * 10))["classes_seen"] == 0.5


@pytest.mark.usefixtures("few")
def test_data_that_lie_class_by_class_are_judged_over_all_classes(monkeypatch):
    monkeypatch.setattr(quality, "_COMPARED", 20)
    dataset, samples = plain(100, in_order=True), real(plain(seed=1), 4)
    found = judged(dataset, samples)
    assert found["classifier_accuracy"] == found["classes_seen"] == 1
    assert found["nearest_lpips"] < 0.05


def test_some_indices_are_distinct_fixed_and_spread():
    chosen = some(20, 1000)
    assert chosen == sorted(set(chosen)) == some(20, 1000)
    assert len(chosen) == 20
    assert chosen[0] < 200
    assert chosen[-1] > 800
    assert some(20, 5) == [0, 1, 2, 3, 4]
