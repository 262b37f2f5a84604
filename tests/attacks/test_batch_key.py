"""Trials whose attacks agree in their batch key run together, and find what each finds alone."""

import pytest
import torch
from attack_cases import attack, context_of, share, trained
from core_cases import images_of, no_priors

from gradleak.attacks.base import ATTACKS, RunContext
from gradleak.data.opening import open_dataset
from gradleak.engine.base import Evaluation
from gradleak.engine.descent import Descent, DescentConfig

GIA_O, ROG = ATTACKS["gia-o"], ATTACKS["rog"]
SPACE = trained("rog", channels=4, blocks=1)


@pytest.fixture(scope="module")
def updates():
    photos = open_dataset("photos10", 16, {})
    return [share(photos, [image]) for image in (1, 8, 4)]


def gia_o(priors, init="normal", iterations=15, **descent):
    return GIA_O(priors=priors, init=init, descent={"iterations": iterations, "signed": False, **descent})


def rog(priors, enhance=True, **descent):
    given = {"iterations": 15, "signed": False, **descent}
    return ROG(space=SPACE[0], enhance=enhance, priors=priors, descent=given)


MIXED = {
    "gia-o": [
        gia_o({"tv": 0.1}, lr=0.1),
        gia_o({"tv": 1e-4, "bn": 1e-3}, init="uniform", lr=0.02, schedule="step", box=False),
        gia_o({}, init="grey", lr=0.3, schedule="constant"),
    ],
    "rog": [
        rog({"tv": 0.1}, lr=0.1),
        rog({"bn": 1e-3}, lr=0.02, schedule="step", box=False),
        rog({}, lr=0.2, schedule="constant"),
    ],
}


@pytest.mark.parametrize("name", MIXED)
def test_trials_of_one_batch_key_find_what_each_finds_alone(updates, name):
    configs = MIXED[name]
    context = context_of(SPACE[1])
    assert len({config.batch_key() for config in configs}) == 1
    together = attack(configs, updates, context, [1, 2, 3])
    for trial, config in enumerate(configs):
        alone = attack(config, updates[trial : trial + 1], context, [trial + 1])
        assert torch.allclose(together.objective[trial], alone.objective[0], rtol=1e-3)
        assert torch.allclose(together.images[trial], alone.images[0], atol=1e-2)
    swapped = attack([configs[1], configs[0], configs[2]], updates, context, [1, 2, 3])
    assert not torch.allclose(swapped.objective[:2], together.objective[:2], rtol=1e-2)


def test_a_batch_key_keeps_apart_what_cannot_run_together():
    first = gia_o({})
    others = [
        gia_o({}, iterations=16),
        first.model_copy(update={"knowledge": "wst"}),
        first.model_copy(update={"objective": "l2"}),
        first.model_copy(update={"labels": "inferred"}),
        first.model_copy(update={"restarts": 2}),
        rog({}),
        rog({}, enhance=False),
        ROG(space=trained("rog", channels=8)[0]),
    ]
    assert len({config.batch_key() for config in [first, *others]}) == len(others) + 1


class Plain:
    """Variables are the candidates; the box is [0, 1]."""

    def decode(self, variables):
        return variables * 1.0

    def project(self, variables):
        return variables.clamp(0, 1)


class Bowl:
    """|images - target|^2 per trial, steeper along some pixels than others."""

    def __init__(self, target):
        self.target, self.weight = target, torch.linspace(0.2, 3, target[0].numel()).view(target[0].shape)

    def __call__(self, images, priors):
        value = (self.weight * (images - self.target).square()).flatten(1).sum(dim=1).double()
        return Evaluation(value, torch.zeros_like(value), 2 * self.weight * (images - self.target))


def test_trials_with_sign_box_patience_and_rate_of_their_own_are_separate_runs():
    configs = [
        DescentConfig(iterations=60, lr=0.05, signed=True, box=True),
        DescentConfig(iterations=60, lr=0.05, signed=False, box=False),
        DescentConfig(iterations=60, lr=0.3, signed=True, box=False, schedule="constant", patience=4),
        DescentConfig(iterations=60, lr=0.02, signed=False, box=True, schedule="step"),
    ]
    target = 3 * images_of(4, 1, resolution=4, seed=1) - 1  # much of it outside the box
    start = images_of(4, 1, resolution=4, seed=2)
    together = Descent(start, Plain(), Bowl(target), no_priors, configs).run()
    for trial, config in enumerate(configs):
        part = slice(trial, trial + 1)
        alone = Descent(start[part], Plain(), Bowl(target[part]), no_priors, config).run()
        assert torch.allclose(together.variables[part], alone.variables, atol=1e-12)
        assert torch.allclose(together.objective[part], alone.objective, rtol=1e-12)
        assert torch.equal(together.iterations[part], alone.iterations)
    inside = [bool((found >= 0).all() and (found <= 1).all()) for found in together.variables]
    assert inside == [True, False, False, True]
    assert together.iterations[2] < 60
    assert together.iterations[[0, 1, 3]].tolist() == [60, 60, 60]


def test_an_attack_without_auxiliary_models_needs_no_loader(updates):
    assert attack(gia_o({}, iterations=2), updates[:1], RunContext()).iterations.tolist() == [[2]]
