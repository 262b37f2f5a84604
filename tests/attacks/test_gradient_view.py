"""Gradient views: attacks that match some of the parameters, by block, module or name."""

import pytest
import torch
from attack_cases import attack, share

from gradleak.attacks.base import ATTACKS, RunContext, Trial
from gradleak.attacks.matching import Problem
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.functional import FunctionalMatcher
from gradleak.errors import UserError
from gradleak.study.cell import Cell


def config(**settings):
    return ATTACKS["gia-o"].model_validate({"name": "gia-o", "descent": {"iterations": 3}, **settings})


def problem(update, **settings):
    return Problem([Trial(config(**settings), update, 1)], update.model, RunContext(), "")


@pytest.mark.parametrize(
    ("view", "names"),
    [
        (["conv1"], ["features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias"]),
        (["features.0"], ["features.0.weight", "features.0.bias"]),
        (["network.features.0.bias"], ["features.0.bias"]),
        (["head", "features.1.weight"], ["features.1.weight", "fc.weight", "fc.bias"]),
    ],
)
def test_a_view_selects_parameters(photos, view, names):
    update = share(photos, [0])
    found = problem(update, view=view)
    names = [f"network.{name}" for name in names]
    assert list(found.targets.update) == names
    expected = torch.stack([update.update[name].square().sum(dtype=torch.float64) for name in names])
    assert torch.allclose(found.targets.norm2, expected[None], rtol=1e-12, atol=0)


def test_what_is_outside_the_view_does_not_matter(photos):
    update = share(photos, [0])
    noisy = {k: v if "features.0" in k else torch.randn_like(v) for k, v in update.update.items()}
    other = type(update)(**{**vars(update), "update": noisy})
    one, two = (attack(config(view=["features.0"]), [shared], RunContext()) for shared in (update, other))
    whole = attack(config(), [update], RunContext())
    assert torch.equal(one.images, two.images)
    assert not torch.equal(one.images, whole.images)


def test_any_subset_is_matched_the_fast_way_where_it_can_be(photos):
    update = share(photos, [0])
    assert isinstance(problem(update, view=["conv1"]).evaluate, ActivationMatcher)
    part = problem(update, view=["conv1", "fc.weight"])
    assert isinstance(part.evaluate, FunctionalMatcher)
    candidates = torch.rand(1, *part.image_shape)
    assert torch.isfinite(part.evaluate(candidates, part.priors).gradient).all()


def test_a_view_of_what_is_not_there_is_one_line(photos):
    with pytest.raises(UserError, match=r"view names 'nin1', which is no .* block: conv1, head"):
        problem(share(photos, [0]), view=["nin1"])


def test_cells_without_a_view_keep_their_ids():
    content = {"dataset": {"name": "photos10"}, "attack": {"name": "gia-o"}, "victims": [0]}
    bare = Cell.parse(content, "test")
    assert "view" not in bare.model_dump(mode="json")["attack"]
    viewed = Cell.parse({**content, "attack": {"name": "gia-o", "view": ["stage1"]}}, "test")
    assert viewed.id != bare.id
    assert viewed.factors()["attack_view"] == "stage1"
