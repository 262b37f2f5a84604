"""Label inference: single labels, counts in a batch, and what it needs."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from core_cases import CLASSES
from torch import nn

from gradleak.attacks.base import RunContext, Trial
from gradleak.attacks.gia_o import GiaO
from gradleak.attacks.labels import infer_label_counts, infer_labels, spread_over_batches
from gradleak.attacks.matching import Problem
from gradleak.errors import UserError
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.base import Classifier, build_model
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
    training = LocalTraining(spec.minibatch, spec.epochs, spec.lr)
    return SharedUpdate(update, network, 0, len(victims), (3, 16, 16), CLASSES, training=training)


@pytest.mark.parametrize("model", list(MODELS))
def test_single_label_is_recovered_for_every_class(photos, model):
    for label in range(CLASSES):
        # The label is not the photograph's own: what is found is in the update, not in the image.
        update = share(photos, model, [(label + 3) % 10], [label])
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


class Body(nn.Module):
    """Features (n, 12, 4, 4) of images, and a head that stands first and is named by nothing in particular."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        wide = kind in ("conv", "map")
        head = (
            nn.Conv2d(12, CLASSES, 1) if wide else nn.Linear(12, CLASSES, bias=kind not in ("bare", "cosine", "tied"))
        )
        self.first = nn.Sequential(head) if kind == "wrapped" else head
        self.other = nn.Linear(12, CLASSES)
        self.conv = nn.Conv2d(3, 12, 3, 4, 1)
        self.gate = nn.Linear(12, 12)
        self.norm = nn.BatchNorm1d(CLASSES)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[..., None, None]
        if self.kind == "conv":
            return self.first(x.mean((2, 3), keepdim=True)).flatten(1)
        if self.kind == "map":
            return self.first(x).mean((2, 3))
        x = x.mean((2, 3))
        if self.kind == "cosine":
            return 4 * F.linear(F.normalize(x), F.normalize(self.first.weight))
        if self.kind == "tied":
            x = torch.relu(x @ self.first.weight.T) @ self.first.weight
        if self.kind == "several":
            return (self.first(x) + self.other(x)) / 2
        if self.kind == "unit":
            return 4 * F.normalize(self.first(x))
        return {
            "temperature": lambda z: z / 3,
            "log-softmax": lambda z: z.log_softmax(dim=1),
            "norm": self.norm,
            "view": lambda z: z.view(len(x), 2, -1).flatten(1),
        }.get(self.kind, lambda z: z)(self.first(x))


def share_body(photos, kind, labels, **client):
    torch.manual_seed(3)
    network = Body(kind).eval()
    model = Classifier(network, CLASSES, photos.mean, photos.std).eval()
    spec = ClientSpec(samples=len(labels), **client)
    update = local_update(model, photos.images("test", list(range(len(labels)))), torch.tensor(labels), spec)
    training = LocalTraining(spec.minibatch, spec.epochs, spec.lr)
    return SharedUpdate(update, model, 0, len(labels), (3, 16, 16), CLASSES, training=training)


LABELS = [3, 7, 7, 1, 0, 7, 9, 3]


@pytest.mark.parametrize(
    "kind",
    ["first", "wrapped", "conv", "map", "several", "temperature", "log-softmax", "norm", "view"],
)
def test_the_layer_whose_output_is_the_logits_is_found(photos, kind):
    for client in ({}, {"batch_size": 2}, {"epochs": 3, "batch_size": 4}):
        assert infer_labels(share_body(photos, kind, LABELS, **client)).tolist() == sorted(LABELS)
    assert infer_labels(share_body(photos, kind, [6])).tolist() == [6]


@pytest.mark.parametrize("kind", ["bare", "cosine"])
def test_a_layer_without_bias_is_nearly_right_where_features_differ_between_images(photos, kind):
    found = infer_label_counts(share_body(photos, kind, LABELS, batch_size=4))
    true = torch.bincount(torch.tensor(LABELS), minlength=CLASSES)
    assert torch.minimum(found, true).sum() >= 6
    assert infer_labels(share_body(photos, kind, [6])).tolist() == [6]


@pytest.mark.parametrize("kind", ["unit", "tied"])
def test_logits_that_move_each_other_are_refused(photos, kind):
    with pytest.raises(UserError, match="labels cannot be inferred: no shared parameter"):
        infer_labels(share_body(photos, kind, LABELS))


def test_without_its_bias_a_layer_tells_by_its_weight(photos):
    update = share(photos, "convnet", [0, 1], [4, 4])
    partial = {name: value for name, value in update.update.items() if name != "network.fc.bias"}
    assert infer_labels(replace(update, update=partial)).tolist() == [4, 4]
    bare = {name: value for name, value in partial.items() if not name.startswith("network.fc.")}
    with pytest.raises(UserError, match="no shared parameter"):
        infer_labels(replace(update, update=bare))


@pytest.mark.parametrize(("value", "reason"), [(0.0, "is all zero"), (float("nan"), "is not finite")])
def test_an_update_that_tells_nothing_is_refused(photos, value, reason):
    update = share(photos, "convnet", [0, 1], [4, 4])
    broken = {name: torch.full_like(tensor, value) for name, tensor in update.update.items()}
    with pytest.raises(UserError, match=rf"labels cannot be inferred: the update of 'network.fc.bias' {reason}"):
        infer_labels(replace(update, update=broken))


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("client", [(8, 4, 1), (6, 6, 4), (8, 2, 2), (9, 8, 1), (9, 8, 2)])
@pytest.mark.parametrize("lr", [0.01, 0.1])
def test_labels_are_right_for_every_number_of_local_steps(photos, model, client, lr):
    samples, batch_size, epochs = client
    labels = torch.randint(CLASSES, (samples,), generator=torch.Generator().manual_seed(samples)).tolist()
    update = share(photos, model, list(range(samples)), labels, lr=lr, batch_size=batch_size, epochs=epochs)
    assert infer_labels(update).tolist() == sorted(labels)
    if samples % batch_size == 0:  # U alone is enough: the levels below 3
        assert infer_labels(update.restricted(0)).tolist() == sorted(labels)


def test_the_order_of_the_clients_images_is_not_known(photos):
    """Permuted within and across equal mini-batches, the images give the attack one and the same order of labels."""
    labels = [0, 0, 1, 1, 2, 2, 3, 9]
    orders = []
    for order in (list(range(8)), [7, 0, 5, 2, 3, 4, 1, 6]):
        update = share(photos, "convnet", order, [labels[i] for i in order], batch_size=2)
        orders.append(spread_over_batches(infer_labels(update), 2).tolist())
    assert orders[0] == orders[1] == [0, 2, 0, 2, 1, 3, 1, 9]


def test_every_mini_batch_has_its_share_of_each_class():
    labels = torch.tensor([0] * 6 + [1] * 4)
    ordered = spread_over_batches(labels[torch.randperm(10, generator=torch.Generator().manual_seed(0))], 4)
    assert ordered.sort().values.tolist() == labels.tolist()
    assert [part.tolist().count(0) for part in ordered.split(4)] in ([2, 2, 2], [3, 2, 1], [2, 3, 1])
    assert spread_over_batches(labels, 10).tolist() == labels.tolist()


def test_an_attack_that_simulates_the_client_gets_the_spread_order(photos):
    config = GiaO(knowledge="wst", labels="inferred", descent={"iterations": 1})
    update = share(photos, "convnet", list(range(4)), [5, 5, 2, 2], batch_size=2)
    problem = Problem([Trial(config, update, 0)], update.model, RunContext(), "0")
    assert problem.labels.tolist() == [[2, 5, 2, 5]]
    known = replace(update, labels=torch.tensor([5, 5, 2, 2]))
    as_given = Problem(
        [Trial(config.model_copy(update={"labels": "known"}), known, 0)], update.model, RunContext(), "0"
    )
    assert as_given.labels.tolist() == [[5, 5, 2, 2]]
