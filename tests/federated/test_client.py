"""The client's local update against hand-written loops, and the statistics it may upload."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from core_cases import images_of, labels_of, model_of, random

from gradleak.federated.client import (
    batch_statistics,
    batch_statistics_of,
    drawn_order,
    local_update,
    parameters_of,
    summed_steps,
)
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.base import batch_norm_layers
from gradleak.specs import ClientSpec

NORM = {"channels": 4, "stages": 2, "layers": 1, "norm": True}


def trained_by_hand(model, images, labels, spec, order=None):
    """(W_0 - W_U) / lr after torch.optim over E epochs of mini-batches in the given order, or in that of each epoch."""
    import copy

    model = copy.deepcopy(model)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    settings = {"lr": spec.lr, "weight_decay": spec.weight_decay}
    if spec.optimizer == "adam":
        optimiser = torch.optim.Adam(model.parameters(), **settings)
    else:
        optimiser = torch.optim.SGD(model.parameters(), momentum=spec.momentum, **settings)
    steps = 0
    for epoch in range(spec.epochs):
        places = torch.arange(len(images)) if order is None else order[epoch]
        for batch in places.split(spec.minibatch):
            optimiser.zero_grad()
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
    found, expected = local_update(model, images, labels, spec), trained_by_hand(model, images, labels, spec)
    assert list(found) == [name for name, _ in model.named_parameters()]
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name
    if spec.updates > 1:  # the steps drift: it is no multiple of the first gradient
        first = trained_by_hand(model, images, labels, ClientSpec(samples=spec.samples, lr=0.3))
        assert any(not torch.allclose(found[name], spec.updates * first[name], rtol=1e-3) for name in first)


OPTIONS = {
    "momentum": {"momentum": 0.9},
    "decay": {"weight_decay": 0.1},
    "both": {"momentum": 0.5, "weight_decay": 0.1},
    "adam": {"optimizer": "adam"},
    "adam-decay": {"optimizer": "adam", "weight_decay": 0.1},
    "shuffle": {"shuffle": True},
    "all": {"shuffle": True, "momentum": 0.9, "weight_decay": 0.1},
}


@pytest.mark.parametrize("options", list(OPTIONS))
def test_a_client_trains_as_torch_optim(options):
    spec = ClientSpec(samples=5, batch_size=2, epochs=3, lr=0.05, **OPTIONS[options])
    model, images, labels = model_of("convnet", **NORM), images_of(5), labels_of(5)
    order = drawn_order(spec, random(0))
    found = local_update(model, images, labels, spec, order)
    for name, value in trained_by_hand(model, images, labels, spec, order).items():
        assert torch.allclose(found[name], value, rtol=1e-8, atol=1e-10), name
    plain = trained_by_hand(model, images, labels, ClientSpec(samples=5, batch_size=2, epochs=3, lr=0.05))
    assert any(not torch.allclose(found[name], value, rtol=1e-2) for name, value in plain.items())


def test_plain_sgd_is_the_sum_of_its_gradients_to_the_last_bit():
    spec = ClientSpec(samples=5, batch_size=2, epochs=2, lr=0.3)
    model, images, labels = model_of("convnet", **NORM).float(), images_of(5).float(), labels_of(5)
    start = parameters_of(model)
    current, total = start, {name: torch.zeros_like(value) for name, value in start.items()}
    for x, y in list(zip(images.split(2), labels.split(2), strict=True)) * 2:
        step = torch.func.grad(lambda own: F.cross_entropy(torch.func.functional_call(model, own, (x,)), y))(current)  # noqa: B023
        total = {name: total[name] + step[name] for name in step}
        current = {name: current[name] - 0.3 * step[name] for name in step}
    found = summed_steps(model, start, images, labels, LocalTraining.of(spec))
    assert all(torch.equal(found[name], value) for name, value in total.items())


@pytest.mark.parametrize("options", list(OPTIONS))
def test_a_client_of_one_step_shares_its_gradient_whatever_the_optimizer(options):
    model, images, labels = model_of("convnet", **NORM), images_of(3), labels_of(3)
    spec = ClientSpec(samples=3, **OPTIONS[options])
    found = local_update(model, images, labels, spec, drawn_order(spec, random(0)))
    simulated = summed_steps(model, parameters_of(model), images, labels, LocalTraining.of(spec))
    for name, value in local_update(model, images, labels, ClientSpec(samples=3)).items():
        assert torch.equal(found[name], value), name
        assert torch.equal(simulated[name], value), name


def test_a_client_that_shuffles_draws_every_image_once_an_epoch_and_each_epoch_anew():
    spec = ClientSpec(samples=6, batch_size=2, epochs=4, shuffle=True)
    order = drawn_order(spec, random(0))
    assert order.shape == (4, 6)
    assert all(sorted(epoch) == list(range(6)) for epoch in order.tolist())
    assert len({tuple(epoch) for epoch in order.tolist()}) == 4
    assert torch.equal(order, drawn_order(spec, random(0)))
    assert not torch.equal(order, drawn_order(spec, random(1)))
    assert drawn_order(ClientSpec(samples=6, batch_size=2), random(0)) is None
    with pytest.raises(ValueError, match="a client that shuffles needs an order"):
        local_update(model_of("convnet", **NORM), images_of(6), labels_of(6), spec)


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
