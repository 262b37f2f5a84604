"""However a model enters, the same numbers come out."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from core_cases import distance, images_of, labels_of, no_priors, targets_of
from reference_matcher import ReferenceMatcher
from safetensors.torch import save_file

from gradleak.audit.model import RawClassifier, attackable, path_of
from gradleak.audit.opaque import Opaque
from gradleak.engine.functional import FunctionalMatcher
from gradleak.federated.client import local_update, parameters_of
from gradleak.federated.shared_update import LocalTraining
from gradleak.objectives.base import OBJECTIVES
from gradleak.specs import ClientSpec

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
NUMBERS = ["lpips", "psnr", "objective"]


@pytest.fixture
def net(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    from own_net import Net

    def build(**options):
        torch.manual_seed(3)
        return Net(**options).eval()

    return build


def script(net, how):
    if how == "scripted":
        return torch.jit.script(net)
    return torch.jit.trace(net, torch.rand(2, 3, 16, 16).to(net.fc.weight))


@pytest.mark.parametrize("how", ["scripted", "traced"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_torchscript_has_the_derivatives_of_the_model_that_it_was_made_of(net, how, epochs):
    plain = RawClassifier(net().double(), 10, (0.5,) * 3, (0.25,) * 3).eval()
    hidden = RawClassifier(Opaque(script(net().double(), how)), 10, (0.5,) * 3, (0.25,) * 3).eval()
    client = ClientSpec(samples=2, batch_size=1, epochs=epochs, lr=0.1)
    images, labels, candidates = images_of(3, 2), labels_of(3, 2), images_of(3, 2, seed=5)
    found = []
    for model, matcher in ((plain, ReferenceMatcher), (hidden, FunctionalMatcher)):
        updates = [local_update(model, x, y, client) for x, y in zip(images, labels, strict=True)]
        stacked = {name: torch.stack([update[name] for update in updates]) for name in updates[0]}
        training = LocalTraining(1, epochs, 0.1)
        targets = targets_of(stacked, labels)
        found.append((list(stacked), matcher(model, targets, OBJECTIVES["cosine"], training)(candidates, no_priors)))
    (names, right), (own, fast) = found
    assert own == names
    assert distance(fast.gradient, right.gradient) < 1e-9
    torch.testing.assert_close(fast.objective, right.objective)


@pytest.mark.parametrize("settings", [{}, {"whitening": {"power": 0.1, "damping": 0.01}}])
def test_torchscript_and_import_path_give_equal_numbers(net, folder, audited, settings):
    attacks = [{"name": "gia-o", "priors": {"tv": 0.01}, "descent": {"iterations": 3}, **settings}]
    audited = partial(audited, attacks=attacks)
    save_file(net().state_dict(), folder / "own.safetensors")
    script(net(), "scripted").save(folder / "own.pt")
    script(net(), "traced").save(folder / "later.pt")
    imported = audited("a", checkpoints=[{"round": 7, "weights": folder / "own.safetensors"}])
    scripted = audited("b", model={"torchscript": folder / "own.pt"}, checkpoints=[{"round": 7}])
    other = {"torchscript": folder / "own.pt"}
    replaced = audited("c", model=other, checkpoints=[{"round": 7, "weights": folder / "later.pt"}])
    assert list(imported["cell_id"]) == list(scripted["cell_id"]) == list(replaced["cell_id"])
    for rows in (scripted, replaced):
        np.testing.assert_allclose(rows[NUMBERS], imported[NUMBERS], rtol=1e-4, atol=1e-6)


def test_layers_are_tapped_only_where_that_is_right(net):
    def path(network):
        return path_of(attackable(network, None, 16, "eval"))

    assert path(net()) == "layers tapped"
    assert path(net(kind="twice")) == "as one function"  # a layer that is used twice
    assert path(script(net(), "scripted")) == "as one function"


def test_frozen_parameters_are_not_shared(net):
    network = net()
    network.conv.requires_grad_(False)
    model = attackable(network, None, 16, "eval")
    assert [name for name in parameters_of(model) if "conv" in name] == []
    update = local_update(model, torch.rand(1, 3, 16, 16), torch.tensor([1]), ClientSpec())
    tapped = local_update(
        attackable(net(), None, 16, "eval"), torch.rand(1, 3, 16, 16), torch.tensor([1]), ClientSpec()
    )
    assert set(update) == {name for name in tapped if not name.startswith("network.conv.")}
    network.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        attackable(network, None, 16, "eval")


def test_an_import_is_not_left_behind_on_the_path(audited, folder):
    before = list(sys.path)
    audited()
    assert sys.path == before
