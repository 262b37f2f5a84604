"""Splits among clients: a partition in which nobody is left out, the same for the same seed, skewed as asked."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from gradleak.errors import UserError
from gradleak.federated.split import split_images
from gradleak.specs import FederatedSpec
from gradleak.study.cell import Cell

ROOT = Path(__file__).parents[2]
LABELS = np.arange(600) % 10


def split(seed=0, labels=LABELS, **settings):
    return split_images(labels, FederatedSpec(**settings), np.random.default_rng(seed))


def shares(parts):
    """Per client, the share of each class among its images."""
    return np.stack([np.bincount(LABELS[part], minlength=10) / len(part) for part in parts])


@pytest.mark.parametrize("alpha", [None, 1e-3, 0.01, 0.5, 1000.0])
@pytest.mark.parametrize("clients", [1, 2, 7, 100, 600])
def test_every_image_goes_to_one_client_and_each_client_has_one(clients, alpha):
    kind = {"split": "iid"} if alpha is None else {"split": "dirichlet", "alpha": alpha}
    parts = split(clients=clients, **kind)
    assert len(parts) == clients
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))
    assert all((np.diff(part) > 0).all() for part in parts)


def test_iid_parts_are_of_equal_size_and_random():
    parts = split(clients=7)
    assert {len(part) for part in parts} == {85, 86}
    assert not np.array_equal(parts[0], np.arange(len(parts[0])))
    assert shares(split(clients=2)).max() < 0.2


def test_a_small_alpha_gives_few_classes_and_a_large_one_all():
    few, some, all_ = (shares(split(clients=5, split="dirichlet", alpha=alpha)) for alpha in (0.01, 0.5, 1000.0))
    assert few.max(axis=1).mean() > some.max(axis=1).mean() > all_.max(axis=1).mean()
    assert (few > 0).sum(axis=1).mean() < 4
    assert abs(all_ - 0.1).max() < 0.04
    assert (some > 0).sum(axis=1).mean() > 5


@pytest.mark.parametrize("kind", ["iid", "dirichlet"])
def test_the_seed_decides(kind):
    first, again, other = (split(seed=seed, clients=4, split=kind) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("kind", [{"split": "iid"}, {"split": "dirichlet", "alpha": 0.5}])
def test_the_victim_has_its_number_of_images_and_the_others_share_the_rest(kind):
    parts = split(clients=11, victim_images=20, **kind)
    assert len(parts) == 11
    assert len(parts[0]) == 20
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert not np.array_equal(parts[0], np.arange(20))
    assert len(set(LABELS[parts[0]])) > 5  # at random, also where the others' classes are not
    if kind["split"] == "iid":
        assert {len(part) for part in parts[1:]} == {58}


def test_the_practical_system_as_documented_has_99_clients_of_500_images_and_a_victim_of_10():
    page = (ROOT / "docs/post_processing.md").read_text(encoding="utf-8")
    content = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    cell = Cell.parse(
        content | {"dataset": {"name": "cifar10"}, "attack": {"name": "gia-o"}, "victims": [0]}, "the example"
    )
    spec = cell.model.training
    assert spec.post_processing == cell.post_processing
    assert (spec.participants, spec.local_epochs, spec.batch_size) == (10, 1, 10)
    parts = split_images(np.zeros(spec.images), spec, np.random.default_rng(0))
    assert [len(part) for part in parts] == [10] + [500] * 99


def test_a_victim_that_leaves_nothing_to_the_others_is_refused():
    message = r"^model\.training\.victim_images is 598, but of the 600 training images each of the other 3 clients"
    with pytest.raises(UserError, match=message):
        split(clients=4, victim_images=598)
    assert [len(part) for part in split(clients=4, victim_images=597)] == [597, 1, 1, 1]


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match=r"^model\.training\.clients is 7, but there are only 6 training images$"):
        split(clients=7, labels=LABELS[:6])
