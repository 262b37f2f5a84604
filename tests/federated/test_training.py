"""Federated training against plain loops in float64: FedAvg, FedSGD, the average, and what is seeded."""

import copy
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from auxiliary_cases import Pictures
from core_cases import images_of, labels_of, model_of

from gradleak.data.pool import ImagePool, SplitImages
from gradleak.errors import UserError
from gradleak.federated.local import train_client
from gradleak.federated.server import sample_clients
from gradleak.federated.training import FederatedTraining
from gradleak.models.base import batch_norm_layers
from gradleak.specs import FederatedSpec

COUNT = 13
SMALL = {"channels": 2, "stages": 1, "layers": 1}


class Recording(ImagePool):
    """A pool that remembers the mini-batches that were taken."""

    def __init__(self, source):
        super().__init__(source)
        self.taken = []

    def take(self, index):
        self.taken.append(index.tolist())
        return super().take(index)


def pool_of(count=COUNT, symmetric=False):
    images = (images_of(count, seed=3) * 255).round().div(255).float()
    images = torch.maximum(images, images.flip(-1)) if symmetric else images
    return Recording(SplitImages(Pictures(images, labels_of(count, seed=4).tolist(), 10), "train", None, 0, "images"))


def spec_of(**settings):
    return FederatedSpec(**({"clients": 1, "epochs": 2, "batch_size": 5, "lr": 0.2} | settings))


def fresh_model(**options):
    return model_of("convnet", **(SMALL | {"norm": True} | options))


def trained(spec, pool=None, rounds=1, model=None, identity="me", **more):
    model = model or fresh_model()
    training = FederatedTraining(model, pool or pool_of(), spec, identity, **more)
    for number in range(1, rounds + 1):
        training.run_round(number)
    return model


def close(a, b, rtol=1e-9):
    first, second = a.state_dict(), b.state_dict()
    names = [name for name in first if "num_batches" not in name]
    return all(torch.allclose(first[name], second[name], rtol=rtol, atol=1e-12) for name in names)


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def sgd_by_hand(model, pool, batches, kind=torch.optim.SGD, **settings):
    """An optimizer over given mini-batches, batch normalisation in training mode."""
    model.train()
    optimizer = kind(model.parameters(), **settings)
    for batch in batches:
        images, labels = ImagePool.take(pool, torch.tensor(batch))
        optimizer.zero_grad()
        F.cross_entropy(model(images.double()), labels).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch_size", [None, 5, 4, 1])
def test_one_client_is_plain_sgd(batch_size, momentum):
    pool, options = pool_of(), {"norm": batch_size != 1}
    found = trained(spec_of(batch_size=batch_size, momentum=momentum), pool, 2, fresh_model(**options))
    size = batch_size or COUNT
    # The last image of 13 does not train alone: it joins the mini-batch before.
    sizes = {13: [13], 5: [5, 5, 3], 4: [4, 4, 5], 1: [1] * 13}[size]
    assert [len(batch) for batch in pool.taken] == sizes * 4
    epochs = np.array(list(chain.from_iterable(pool.taken))).reshape(4, COUNT).tolist()
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    expected, half = fresh_model(**options), len(pool.taken) // 2
    for batches in (pool.taken[:half], pool.taken[half:]):  # momentum starts anew each round
        expected = sgd_by_hand(expected, pool, batches, lr=0.2, momentum=momentum)
    assert close(found, expected)
    assert not close(found, fresh_model(**options), rtol=1e-3)
    if momentum:
        assert not close(found, trained(spec_of(batch_size=batch_size), rounds=2, model=fresh_model(**options)), 1e-3)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"weight_decay": 0.1}, torch.optim.SGD),
        ({"weight_decay": 0.1, "momentum": 0.9}, torch.optim.SGD),
        ({"optimizer": "adam"}, torch.optim.Adam),
        ({"optimizer": "adam", "weight_decay": 0.1}, torch.optim.Adam),
    ],
)
def test_a_client_trains_as_torch_optim_and_anew_each_round(options, kind):
    # Before batch normalisation a bias has a gradient of rounding errors, which Adam makes steps of.
    pool = pool_of()
    found, expected = trained(spec_of(lr=0.05, **options), pool, 2, fresh_model(norm=False)), fresh_model(norm=False)
    settings = {key: value for key, value in options.items() if key != "optimizer"}
    for batches in np.array_split(np.array(pool.taken, dtype=object), 2):
        expected = sgd_by_hand(expected, pool, batches, kind, lr=0.05, **settings)
    assert close(found, expected)
    assert not close(found, trained(spec_of(lr=0.05), rounds=2, model=fresh_model(norm=False)), 1e-3)


def test_momentum_is_computed_as_ever_to_the_last_bit():
    found, pool = fresh_model().float(), pool_of()
    expected = copy.deepcopy(found).train()
    train_client(found, pool, torch.arange(COUNT), spec_of(momentum=0.9), 1)
    velocity = {}
    for batch in pool.taken:
        images, labels = ImagePool.take(pool, torch.tensor(batch))
        expected.zero_grad()
        F.cross_entropy(expected(images), labels).backward()
        for name, value in expected.named_parameters():
            known = velocity.get(name)
            velocity[name] = value.grad if known is None else known.mul_(0.9).add_(value.grad)
            value.data.add_(velocity[name], alpha=-0.2)
    assert same(found, expected)


@pytest.mark.parametrize("split", [{"split": "iid"}, {"split": "dirichlet", "alpha": 0.3}])
@pytest.mark.parametrize("clients", [1, 4, 13])
def test_fedsgd_of_all_clients_is_one_step_on_all_images(clients, split):
    # Without batch normalisation: its statistics are those of a client's own images.
    pool = pool_of()
    spec = spec_of(clients=clients, protocol="fedsgd", epochs=None, batch_size=None, **split)
    found = trained(spec, pool, 3, fresh_model(norm=False))
    assert close(found, sgd_by_hand(fresh_model(norm=False), pool, [range(COUNT)] * 3, lr=0.2))
    assert len(pool.taken) == 3 * clients


def test_fedsgd_takes_one_mini_batch():
    pool = pool_of()
    found = trained(spec_of(protocol="fedsgd", epochs=None), pool)
    assert [len(batch) for batch in pool.taken] == [5]
    assert close(found, sgd_by_hand(fresh_model(), pool, pool.taken, lr=0.2))


def test_fedavg_of_one_step_is_fedsgd():
    settings = {"clients": 3, "split": "dirichlet", "alpha": 2.0, "batch_size": None}
    fedavg = trained(spec_of(**settings, epochs=1), rounds=2)
    fedsgd = trained(spec_of(**settings, epochs=None, protocol="fedsgd"), rounds=2)
    assert close(fedavg, fedsgd)
    assert not close(fedavg, trained(spec_of(**settings, epochs=2), rounds=2), rtol=1e-3)


def test_weights_and_running_statistics_are_averaged_by_samples():
    spec = spec_of(clients=3, split="dirichlet", alpha=2.0)
    pool, model = pool_of(), fresh_model()
    training = FederatedTraining(model, pool, spec, "me")
    sizes = [len(part) for part in training.parts]
    assert len(set(sizes)) > 1
    clients = []
    for client, part in enumerate(training.parts):
        own = copy.deepcopy(model)
        train_client(own, pool, part, spec, training._seed(1, client))
        clients.append(own.state_dict())
    training.run_round(1)
    for name, value in model.state_dict().items():
        if "num_batches" not in name:
            mean = sum(size / COUNT * own[name] for size, own in zip(sizes, clients, strict=True))
            assert torch.allclose(value, mean, rtol=1e-9, atol=1e-12), name
    (layer,) = batch_norm_layers(model).values()
    (before,) = batch_norm_layers(fresh_model()).values()
    assert not torch.allclose(layer.running_mean, before.running_mean, rtol=0.01)
    assert not model.training


def test_an_update_is_post_processed_before_the_server_averages_it():
    before = fresh_model()
    clipped = trained(spec_of(post_processing={"name": "clip", "bound": 0.25}))
    plain = trained(spec_of())
    steps = {
        name: (plain.get_parameter(name) - value, clipped.get_parameter(name) - value)
        for name, value in before.named_parameters()
    }
    length = sum(step.square().sum() for step, _ in steps.values()).sqrt()
    assert length > 0.2 * 0.25  # lr times the bound
    for name, (step, found) in steps.items():
        assert torch.allclose(found, step * 0.2 * 0.25 / length, rtol=1e-6, atol=1e-12), name
    # Running statistics are no part of the update.
    for name, statistic in clipped.named_buffers():
        assert torch.equal(statistic, plain.get_buffer(name)), name


def test_every_client_is_post_processed_alone():
    # Of two clients each keeps a number, the larger of which is not the other's.
    ratio = 1 - 1 / sum(value.numel() for value in fresh_model().parameters())
    sparse = spec_of(clients=2, split="dirichlet", alpha=0.1, post_processing={"name": "top_k", "ratio": ratio})
    before, found = fresh_model(), trained(sparse)
    moved = sum(int((found.get_parameter(name) != value).sum()) for name, value in before.named_parameters())
    assert moved == 2


def test_noise_differs_by_training_round_and_client_and_by_nothing_else():
    # Without local steps to speak of, what a round adds to the weights is the mean of the clients' noise.
    def moves(identity, rounds, **settings):
        spec = spec_of(lr=1e-9, post_processing={"name": "noise", "multiplier": 1e6}, **settings)
        models = [trained(spec, rounds=number, identity=identity) for number in range(rounds + 1)]
        flat = [torch.cat([value.detach().flatten() for value in model.parameters()]) for model in models]
        return [1e3 * (b - a) for a, b in pairwise(flat)]

    first, second = moves("me", 2)
    assert first.std() == pytest.approx(1, rel=0.1)
    others = [second, *moves("other", 1)]
    for other in others:
        assert torch.corrcoef(torch.stack([first, other]))[0, 1].abs() < 0.1
    assert torch.equal(first, moves("me", 1)[0])
    assert moves("me", 1, clients=4)[0].std() == pytest.approx(0.5, rel=0.1)


def test_a_round_with_noise_depends_on_the_round_before_and_on_nothing_else():
    spec = spec_of(clients=3, post_processing=[{"name": "clip", "bound": 1.0}, {"name": "noise", "multiplier": 0.1}])
    whole = trained(spec, rounds=2)
    half = trained(spec, rounds=1)
    FederatedTraining(half, pool_of(), spec, "me").run_round(2)
    assert same(whole, half)
    assert not same(whole, trained(spec, rounds=2, identity="other"))


def test_a_round_trains_the_sampled_clients_only():
    spec, pool, counted = spec_of(clients=4, sampled=2, epochs=1), pool_of(), []
    training = FederatedTraining(fresh_model(), pool, spec, "me", progress=counted.append)
    seen = set()
    for number in range(1, 9):
        pool.taken.clear()
        training.run_round(number)
        rows = {row for batch in pool.taken for row in batch}
        chosen = [client for client, part in enumerate(training.parts) if rows & set(part.tolist())]
        assert len(chosen) == 2
        assert rows == {row for client in chosen for row in training.parts[client].tolist()}
        seen |= set(chosen)
    assert seen == {0, 1, 2, 3}
    assert counted == [1] * 16
    assert sample_clients(9, 9, np.random.default_rng(0)) == list(range(9))


def test_a_round_depends_on_the_round_before_and_on_nothing_else():
    spec, options = spec_of(clients=3, augment="flip"), {"dropout": 0.5}
    torch.manual_seed(1)
    outside = torch.get_rng_state()
    whole = trained(spec, rounds=2, model=fresh_model(**options))
    assert torch.equal(torch.get_rng_state(), outside)
    torch.manual_seed(2)
    half = trained(spec, rounds=1, model=fresh_model(**options))
    FederatedTraining(half, pool_of(), spec, "me").run_round(2)
    assert same(whole, half)
    assert not same(whole, trained(spec, rounds=2, model=fresh_model(**options), identity="other"))
    assert not same(whole, trained(spec, rounds=2, model=fresh_model()))


def test_flips_mirror_some_images():
    plain, flipped = (spec_of(epochs=1, batch_size=None, augment=augment) for augment in ("none", "flip"))
    assert not close(trained(plain), trained(flipped), rtol=1e-3)
    assert same(trained(plain, pool_of(symmetric=True)), trained(flipped, pool_of(symmetric=True)))


def test_mixed_precision_computes_in_bfloat16_and_keeps_the_weights():
    exact, mixed = (
        trained(spec_of(clients=2, precision=precision), model=fresh_model().float())
        for precision in ("float32", "mixed")
    )
    for name, value in mixed.named_parameters():
        assert value.dtype == torch.float32
        assert 0 < (value - exact.get_parameter(name)).abs().max() < 0.05, name


@pytest.mark.parametrize("norm", [True, False])
def test_under_mixed_precision_a_client_shares_float32_that_is_close_to_the_exact_gradient(norm):
    model, rows = fresh_model(norm=norm).float(), torch.arange(5)
    exact, mixed = (
        train_client(copy.deepcopy(model), pool_of(), rows, spec_of(protocol="fedsgd", epochs=None, **more), 1)
        for more in ({}, {"precision": "mixed"})
    )
    assert {value.dtype for value in [*mixed.update.values(), *mixed.statistics.values()]} == {torch.float32}
    before_norm = {"network.features.0.bias"} if norm else set()  # its gradient is zero but for rounding
    for part, other in ((exact.update, mixed.update), (exact.statistics, mixed.statistics)):
        for name in part.keys() - before_norm:
            assert 0 < (part[name] - other[name]).norm() < 0.2 * part[name].norm(), name


@pytest.mark.parametrize("post_processing", [{"name": "qsgd"}, [{"name": "clip", "bound": 0.1}, {"name": "noise"}]])
def test_mixed_precision_with_post_processing_repeats_exactly(post_processing):
    settings = {"clients": 2, "precision": "mixed", "post_processing": post_processing}
    first, again, plain = (
        trained(spec_of(**settings | change), model=fresh_model().float(), rounds=2)
        for change in ({}, {}, {"precision": "float32"})
    )
    assert same(first, again)
    assert not same(first, plain)


def test_accuracy_is_the_share_of_right_labels_in_evaluation_mode():
    model, pool, spec = fresh_model(), pool_of(), spec_of(clients=2)
    training = FederatedTraining(model, pool, spec, "me")
    training.run_round(1)
    images, labels = ImagePool.take(pool, torch.arange(COUNT))
    with torch.no_grad():
        logits = model.eval()(images.double())
    found = training.evaluate(pool, 1)
    assert (found.round, found.images) == (1, COUNT)
    assert found.accuracy == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert found.loss == pytest.approx(float(F.cross_entropy(logits, labels)))


def test_a_training_that_diverges_is_one_line():
    model = fresh_model()
    model.network.fc.bias.data.fill_(float("nan"))
    training = FederatedTraining(model, pool_of(), spec_of(), "me")
    with pytest.raises(UserError, match=r"^federated training diverged in round 7: .* model\.training\.lr is 0\.2"):
        training.evaluate(pool_of(), 7)


def test_a_pool_that_is_too_large_to_keep_gives_the_same_images(monkeypatch):
    from gradleak.data import pool as module

    kept = pool_of()
    monkeypatch.setattr(module, "_KEPT_BYTES", 0)
    read = pool_of()
    assert (kept._kept is None, read._kept is None) == (False, True)
    for first, second in zip(kept.take(torch.tensor([5, 2])), read.take(torch.tensor([5, 2])), strict=True):
        assert torch.equal(first, second)


def test_some_images_of_a_split_are_drawn_with_a_seed():
    data = Pictures(images_of(50).float(), list(range(50)), 50)
    drawn = [SplitImages(data, "train", 20, seed, "images").labels(range(20)).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 20
    assert SplitImages(data, "train", None, 0, "images").labels(range(50)).tolist() == list(range(50))
    with pytest.raises(UserError, match=r"^images is 51, but split 'train' of data set 'photos10' has 50 images$"):
        SplitImages(data, "train", 51, 0, "images")
