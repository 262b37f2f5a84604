"""Models of every make are differentiated as a client that trains them, in the fastest way that is right."""

import copy

import pytest
import torch
import torch.nn.functional as F
from core_cases import distance, no_priors, random
from torch import nn

from gradleak.audit.model import OwnClassifier, RawClassifier, attackable, path_of
from gradleak.engine.base import Targets
from gradleak.engine.functional import FunctionalMatcher, OneByOneMatcher
from gradleak.engine.whitening import Whitener, Whitening
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import LocalTraining
from gradleak.objectives.base import OBJECTIVES
from gradleak.specs import ClientSpec

SHAPE = (3, 8, 8)


class Own(nn.Module):
    """A network of 8x8 images whose middle is made by a subclass; `step` maps (n, 6, 4, 4) to the same."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 2, 2)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.step(F.silu(self.stem(x))).mean((2, 3)))


class TwoNames(Own):
    def __init__(self):
        super().__init__()
        self.block = self.again = nn.Conv2d(6, 6, 3, padding=1)

    def step(self, x):
        return F.silu(self.again(F.silu(self.block(x))))


class OneParameter(Own):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.b.weight = self.a.weight

    def step(self, x):
        return F.silu(self.b(F.silu(self.a(x))))


class CalledTwice(Own):
    def __init__(self):
        super().__init__()
        self.block = nn.Conv2d(6, 6, 3, padding=1)

    def step(self, x):
        return F.silu(self.block(F.silu(self.block(x))))


class Attention(Own):
    def __init__(self):
        super().__init__()
        self.own = nn.MultiheadAttention(6, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def step(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.layer(tokens + self.own(tokens, tokens, tokens, need_weights=False)[0])
        tokens = tokens + F.scaled_dot_product_attention(tokens, tokens, tokens)
        return tokens.transpose(1, 2).view_as(x)


class Hard(Own):
    def __init__(self):
        super().__init__()
        self.act = nn.Hardswish()

    def step(self, x):
        return self.act(x) * F.hardsigmoid(x)


class Looks(Own):
    def step(self, x):
        return x if x.max().item() > 100 else 2 * x


class Writes(Own):
    def step(self, x):
        new = torch.zeros(x.shape, dtype=x.dtype)
        new[:, :3] = x[:, 3:]
        return new


class Changes(Own):
    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.25))

    def step(self, x):
        return x


class OldStyle(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, g):
        s = ctx.saved_tensors[0].sigmoid()
        return g * s * (1 + ctx.saved_tensors[0] * (1 - s))


class Custom(Own):
    def step(self, x):
        return OldStyle.apply(x)


class Named(Own):
    def forward(self, x):
        return {"logits": super().forward(x), "hidden": x}

    def step(self, x):
        return x


WAYS = {
    TwoNames: "as one function",
    OneParameter: "as one function",
    CalledTwice: "as one function",
    Attention: "as one function",
    Hard: "layers tapped",
    Looks: "one by one",
    Writes: "one by one",
    Custom: "one by one",
    Changes: "layers tapped",
    Named: "layers tapped",
}


def built(kind):
    torch.manual_seed(0)
    return kind().eval()


@pytest.mark.parametrize("kind", list(WAYS))
def test_the_fastest_right_way_is_taken_and_said(kind):
    model = attackable(built(kind), None, 8, "eval", sizes=(1, 2))
    assert path_of(model) == WAYS[kind]
    assert any("one after another" in note for note in model.notes) == (WAYS[kind] == "one by one")


def unrolled(network, images, labels, client):
    """A client that trains a copy of the network as everybody does, with torch.optim."""
    own = copy.deepcopy(network)
    optimizer = torch.optim.SGD(own.parameters(), lr=client.lr)
    for _ in range(client.epochs):
        for x, y in zip(images.split(client.minibatch), labels.split(client.minibatch), strict=True):
            optimizer.zero_grad()
            answer = own(x.clone())
            F.cross_entropy(answer["logits"] if isinstance(answer, dict) else answer, y).backward()
            optimizer.step()
    before, after = dict(network.named_parameters()), dict(own.named_parameters())
    return {name: (before[name].detach() - after[name].detach()) / client.lr for name in before}


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("kind", list(WAYS))
def test_a_client_shares_what_plain_training_makes(kind, epochs):
    network = built(kind).double()
    model = RawClassifier(network, 4, (0.5,) * 3, (0.25,) * 3).eval()
    model.way = "alone" if WAYS[kind] == "one by one" else "together"
    client = ClientSpec(samples=3, batch_size=3 if epochs == 1 else 2, epochs=epochs, lr=0.1)
    images, labels = torch.rand(3, *SHAPE, generator=random(1), dtype=torch.float64), torch.tensor([0, 3, 1])
    found = local_update(model, images, labels, client)
    for name, value in unrolled(network, images, labels, client).items():
        torch.testing.assert_close(found[f"network.{name}"], value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", [TwoNames, OneParameter, CalledTwice, Attention, Hard])
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("whitening", [None, Whitening(power=0.1, damping=0.01)], ids=["plain", "whitened"])
def test_trials_together_are_those_one_by_one(kind, epochs, whitening):
    model = RawClassifier(built(kind).double(), 4, (0.5,) * 3, (0.25,) * 3).eval()
    client = ClientSpec(samples=2, batch_size=1, epochs=epochs, lr=0.1)
    victims, candidates = torch.rand(2, 2, 2, *SHAPE, generator=random(2), dtype=torch.float64)
    labels = torch.tensor([[0, 1], [2, 2]])
    updates = [local_update(model, x, y, client) for x, y in zip(victims, labels, strict=True)]
    stacked = {name: torch.stack([update[name] for update in updates]) for name in updates[0]}
    whitener = None if whitening is None else Whitener.of(stacked, whitening)
    targets = Targets.of(stacked, labels, whitener)
    found = []
    for way, kind_of in (("together", FunctionalMatcher), ("alone", OneByOneMatcher)):
        model.way = way
        matcher = kind_of(model, targets, OBJECTIVES["cosine"], LocalTraining(1, epochs, 0.1))
        found.append(matcher(candidates, no_priors))
    torch.testing.assert_close(found[0].objective, found[1].objective)
    assert distance(found[0].gradient, found[1].gradient) < 1e-9


def test_plain_attention_is_only_inside():
    before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()
    OwnClassifier(built(Attention), 4, (0.5,) * 3, (0.25,) * 3)(torch.rand(1, *SHAPE))
    assert before == (torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled())


def test_frozen_parameters_are_said():
    network = built(CalledTwice)
    network.stem.requires_grad_(False)
    assert attackable(network, None, 8, "eval").notes == (
        "model: 2 of 6 parameters are frozen and not shared, the first is 'stem.weight'",
    )


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_batch_normalisation_of_features_is_audited(bn_mode):
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 4))
    model = attackable(network, None, 8, bn_mode, sizes=(2, 3))
    assert path_of(model) == "as one function"
    if bn_mode == "train":
        with pytest.raises(ValueError, match="it takes 2, so choose"):
            attackable(network, None, 8, bn_mode, sizes=(1, 2))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", [TwoNames, OneParameter])
def test_what_a_script_shares_among_layers_is_one_parameter(kind, tmp_path):
    network, file = built(kind), tmp_path / "net.pt"
    torch.jit.trace(network, torch.rand(2, *SHAPE)).save(file)
    plain, scripted = (attackable(made, None, 8, "eval") for made in (network, torch.jit.load(file)))
    images, labels = torch.rand(2, *SHAPE, generator=random(1)), torch.tensor([0, 3])
    for epochs in (1, 2):
        client = ClientSpec(samples=2, batch_size=1, epochs=epochs, lr=0.1)
        right, found = (local_update(model, images, labels, client) for model in (plain, scripted))
        assert list(found) == list(right)
        for name, value in right.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)
            assert not found[name].requires_grad
