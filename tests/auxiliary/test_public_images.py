"""A training reads public images only: no victim, no tuning image, in the whole data set and in a view of classes."""

import pytest
import torch
from auxiliary_cases import SIZE

from gradleak.auxiliary.base import TrainContext, parse_auxiliary
from gradleak.data.opening import open_view
from gradleak.data.photos10 import Photos10
from gradleak.data.roles import PublicImages, TuningImages
from gradleak.data.view import ClassView

TINY = {
    "dcgan": {"channels": 4, "steps": 1, "batch_size": 8},
    "resgan": {"channels": 4, "most_channels": 4, "steps": 1, "batch_size": 8},
    "rog": {"channels": 4, "blocks": 1, "steps": 8, "batch_size": 64},
}


@pytest.fixture
def reads(monkeypatch):
    """The images and labels of the whole data set that were read, as (split, index); pixels are not decoded."""
    seen = set()
    labels = Photos10._labels

    def images(self, split, indices):
        seen.update((split, index) for index in indices)
        return [torch.full((3, SIZE, SIZE), index / 2000) for index in indices]

    def watched(self, split, indices):
        seen.update((split, index) for index in indices)
        return labels(self, split, indices)

    monkeypatch.setattr(Photos10, "_images", images)
    monkeypatch.setattr(Photos10, "_labels", watched)
    return seen


def of(role, reads):
    reads.clear()
    role.images(range(role.size))
    return set(reads)


@pytest.mark.parametrize("classes", [None, ["chelsea", "coffee"]])
@pytest.mark.parametrize("name", TINY)
def test_every_image_that_a_training_reads_is_public(reads, name, classes):
    dataset = {"name": "photos10", "resolution": SIZE, "classes": classes}
    parsed = parse_auxiliary({"name": name, "dataset": dataset, **TINY[name]})
    view = open_view(parsed.dataset, {})
    whole = view.whole if isinstance(view, ClassView) else view
    tuning, allowed = of(TuningImages(whole), reads), of(PublicImages(view), reads)
    public = PublicImages(view)
    reads.clear()
    parsed.train(public, TrainContext())
    assert len(reads) > 200
    assert {split for split, _ in reads} == {"train"}
    assert not reads & tuning
    assert reads <= allowed
    if classes:
        names = {whole.class_names[int(whole.labels("train", [index])[0])] for _, index in sorted(reads)}
        assert names == set(classes)
