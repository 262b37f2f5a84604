"""Label inference: single labels, counts in a batch, and what it needs."""

from dataclasses import replace

import pytest
import torch
from core_cases import CLASSES

from gradleak.attacks.labels import infer_label_counts, infer_labels, infer_single_label
from gradleak.errors import UserError
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import build_model
from gradleak.specs import ClientSpec, ModelSpec

MODELS = {
    "convnet": {"name": "convnet", "options": {"channels": 4, "stages": 2, "layers": 1}},
    "resnet18": {"name": "resnet18", "width": 0.125},
}


def share(photos, model, victims, labels, seed=0, **client):
    network = build_model(ModelSpec(**MODELS[model], init_seed=seed), CLASSES, 16, photos.mean, photos.std)
    spec = ClientSpec(samples=len(victims), **client)
    images, labels = photos.images("test", victims), torch.tensor(labels)
    update = local_update(network, images, labels, spec)
    return SharedUpdate(update, network, 0, len(victims), (3, 16, 16), CLASSES)


@pytest.mark.parametrize("model", list(MODELS))
def test_single_label_is_recovered_for_every_class(photos, model):
    for label in range(CLASSES):
        # The label is not the photograph's own: what is found is in the update, not in the image.
        update = share(photos, model, [(label + 3) % 10], [label])
        assert infer_single_label(update).tolist() == [label]
        assert infer_labels(update).tolist() == [label]


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("samples", [2, 8, 20])
def test_counts_recover_the_multiset_of_labels_on_an_untrained_model(photos, model, samples):
    for seed in range(4):
        labels = torch.randint(CLASSES, (samples,), generator=torch.Generator().manual_seed(seed)).tolist()
        update = share(photos, model, list(range(100 * seed, 100 * seed + samples)), labels, seed)
        counts = infer_label_counts(update)
        assert counts.tolist() == [labels.count(label) for label in range(CLASSES)]
        assert infer_labels(update).tolist() == sorted(labels)


def test_repeated_and_missing_classes_are_counted(photos):
    update = share(photos, "resnet18", list(range(6)), [7, 7, 7, 7, 2, 2])
    assert infer_labels(update).tolist() == [2, 2, 7, 7, 7, 7]


def test_counts_always_sum_to_the_number_of_samples_even_where_they_cannot_be_exact(photos):
    update = share(photos, "convnet", list(range(7)), [0, 0, 1, 4, 4, 9, 9])
    generator = torch.Generator().manual_seed(0)
    noisy = dict(update.update)
    noisy["network.fc.bias"] = torch.randn(CLASSES, generator=generator)
    counts = infer_label_counts(replace(update, update=noisy))
    assert int(counts.sum()) == 7
    assert counts.min() >= 0


def test_an_update_without_the_last_layers_bias_is_a_user_error(photos):
    for victims in ([0], [0, 1]):
        update = share(photos, "convnet", victims, victims)
        partial = {name: value for name, value in update.update.items() if name != "network.fc.bias"}
        with pytest.raises(UserError, match="last layer is linear with a bias"):
            infer_labels(replace(update, update=partial))
