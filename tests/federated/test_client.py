"""The client's local update against hand-written loops, and the statistics it may upload."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from core_cases import images_of, labels_of, model_of

from gradleak.federated.client import batch_statistics, batch_statistics_of, local_update
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import batch_norm_layers
from gradleak.specs import ClientSpec

NORM = {"channels": 4, "stages": 2, "layers": 1, "norm": True}


def sgd_by_hand(model, images, labels, spec):
    """(W_0 - W_U) / lr after torch.optim.SGD over E epochs of mini-batches in the given order."""
    import copy

    model = copy.deepcopy(model)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=spec.lr)
    steps = 0
    for _ in range(spec.epochs):
        for first in range(0, len(images), spec.minibatch):
            optimiser.zero_grad()
            batch = slice(first, first + spec.minibatch)
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()
            steps += 1
    assert steps == spec.updates
    return {name: (start[name] - value.detach()) / spec.lr for name, value in model.named_parameters()}


CLIENTS = {
    "full-batch": {"samples": 4},
    "mini-batch": {"samples": 4, "batch_size": 2},
    "one-by-one": {"samples": 3, "batch_size": 1},
    "epochs": {"samples": 3, "epochs": 3},
    "ragged-epochs": {"samples": 5, "batch_size": 2, "epochs": 2},
}


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
@pytest.mark.parametrize("client", list(CLIENTS))
def test_update_is_the_weight_difference_over_the_learning_rate(client, bn_mode):
    spec = ClientSpec(**CLIENTS[client], lr=0.3, bn_mode=bn_mode)
    model = model_of("convnet", bn_mode=bn_mode, **NORM)
    images, labels = images_of(spec.samples), labels_of(spec.samples)
    found, expected = local_update(model, images, labels, spec), sgd_by_hand(model, images, labels, spec)
    assert list(found) == [name for name, _ in model.named_parameters()]
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name
    if spec.updates > 1:  # the steps drift: it is no multiple of the first gradient
        first = sgd_by_hand(model, images, labels, ClientSpec(samples=spec.samples, lr=0.3))
        assert any(not torch.allclose(found[name], spec.updates * first[name], rtol=1e-3) for name in first)


def test_the_last_smaller_mini_batch_weighs_as_much_as_the_others():
    model = model_of("convnet", channels=2, stages=1, layers=1)
    images, labels = images_of(3), labels_of(3)
    found = local_update(model, images, labels, ClientSpec(samples=3, batch_size=2, lr=1e-7))
    parts = [
        local_update(model, images[part], labels[part], ClientSpec(samples=len(images[part])))
        for part in (slice(0, 2), slice(2, 3))
    ]
    for name, value in found.items():
        assert torch.allclose(value, parts[0][name] + parts[1][name], rtol=1e-4, atol=1e-6), name


def test_fedsgd_shares_the_gradient_of_the_mean_loss_whatever_the_learning_rate():
    model = model_of("resnet18", width=0.125)
    images, labels = images_of(3), labels_of(3)
    loss = F.cross_entropy(model(images), labels, reduction="sum") / 3
    expected = torch.autograd.grad(loss, list(model.parameters()))
    for lr in (0.01, 10.0):
        found = local_update(model, images, labels, ClientSpec(samples=3, lr=lr))
        for value, gradient in zip(found.values(), expected, strict=True):
            assert torch.allclose(value, gradient, rtol=1e-10, atol=1e-13)


def test_a_step_along_the_shared_update_with_minus_sign_lowers_the_loss():
    model = model_of("convnet", **NORM)
    images, labels = images_of(2), labels_of(2)
    for epochs in (1, 2):
        update = local_update(model, images, labels, ClientSpec(samples=2, epochs=epochs, lr=0.05))
        before = F.cross_entropy(model(images), labels)
        moved = {name: value - 0.05 * update[name] for name, value in model.named_parameters()}
        after = F.cross_entropy(torch.func.functional_call(model, moved, (images,)), labels)
        assert after < before - 0.01


def test_fedavg_update_moves_the_model_to_the_trained_weights():
    model = model_of("convnet", **NORM)
    spec = ClientSpec(samples=4, batch_size=2, lr=0.1)
    images, labels = images_of(4), labels_of(4)
    update = local_update(model, images, labels, spec)
    # W_U = W_0 - eta u, and u is a sum of gradients, not their mean.
    first = local_update(model, images[:2], labels[:2], ClientSpec(samples=2))
    trained = {name: value.detach() - 0.1 * first[name] for name, value in model.named_parameters()}
    loss = F.cross_entropy(
        torch.func.functional_call(model, {k: v.requires_grad_() for k, v in trained.items()}, (images[2:],)),
        labels[2:],
    )
    for (name, value), second in zip(update.items(), torch.autograd.grad(loss, list(trained.values())), strict=True):
        assert torch.allclose(value, first[name] + second, rtol=1e-9, atol=1e-12), name


def test_bn_modes_give_different_updates_and_leave_the_model_alone():
    images, labels = images_of(4), labels_of(4)
    updates = []
    for mode in ("eval", "train"):
        model = model_of("convnet", bn_mode=mode, **NORM)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        updates.append(local_update(model, images, labels, ClientSpec(samples=4, bn_mode=mode, epochs=2)))
        assert before.keys() == model.state_dict().keys()
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert not model.training
    flat = [torch.cat([value.flatten() for value in update.values()]) for update in updates]
    assert (flat[0] - flat[1]).norm() > 0.1 * flat[0].norm()


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_batch_statistics_are_mean_and_biased_variance_of_each_layers_input(bn_mode):
    model = model_of("convnet", bn_mode=bn_mode, **NORM)
    images = images_of(3)
    conv1, norm1, relu, pool, conv2, *_ = model.network.features
    first = conv1((images - model.normalise.mean) / model.normalise.std)
    second = conv2(pool(relu(norm1(first))))
    found = batch_statistics(model, images)
    assert len(found) == len(batch_norm_layers(model)) == 2
    for (mean, variance), features in zip(found, (first, second), strict=True):
        rows = features.transpose(0, 1).flatten(1)
        assert torch.allclose(mean, rows.mean(dim=1), rtol=1e-10, atol=1e-12)
        expected = ((rows - rows.mean(dim=1, keepdim=True)) ** 2).sum(dim=1) / rows.shape[1]
        assert torch.allclose(variance, expected, rtol=1e-10)
        assert not mean.requires_grad


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_batch_statistics_of_several_trials_are_those_of_each(bn_mode):
    model = model_of("convnet", bn_mode=bn_mode, **NORM)
    images = images_of(3, 2)
    together = batch_statistics_of(model, images)
    for trial in range(3):
        for (mean, variance), (one, other) in zip(together, batch_statistics(model, images[trial]), strict=True):
            assert torch.allclose(mean[trial], one, rtol=1e-10)
            assert torch.allclose(variance[trial], other, rtol=1e-10)


def test_a_model_without_batch_normalisation_has_no_statistics():
    assert batch_statistics(model_of("convnet", channels=2, stages=1, layers=1), images_of(2)) == []


@pytest.mark.parametrize(("level", "training", "statistics"), [(0, 0, 0), (2, 0, 0), (3, 1, 0), (4, 1, 1), (5, 1, 1)])
def test_a_lower_knowledge_level_sees_fewer_fields(level, training, statistics):
    from core_cases import problem_of

    full = replace(problem_of(model_of("convnet", **NORM), 1, 2).updates[0], post_processing=())
    assert full.training is not None
    assert full.batch_statistics
    seen = full.restricted(level)
    assert (seen.training is not None) == bool(training)
    assert (seen.batch_statistics is not None) == bool(statistics)
    assert seen.post_processing == (() if level >= 3 else None)
    for name in ("update", "difference", "model", "round", "samples", "image_shape", "num_classes", "labels"):
        assert getattr(seen, name) is getattr(full, name)
    assert full.training is not None


def test_a_shared_update_has_no_field_for_images_and_cannot_be_changed():
    import dataclasses

    assert [field.name for field in dataclasses.fields(SharedUpdate)] == [
        "update",
        "model",
        "round",
        "samples",
        "image_shape",
        "num_classes",
        "labels",
        "training",
        "batch_statistics",
        "post_processing",
        "steps",
        "difference",
    ]
    update = SharedUpdate({}, torch.nn.Identity(), 0, 1, (3, 8, 8), 10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        update.samples = 2
