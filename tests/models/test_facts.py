"""Facts of a model beside its name, and the check of gradient views before a study runs."""

import re
from pathlib import Path

import pytest

from gradleak.errors import UserError
from gradleak.models.base import MODELS
from gradleak.models.facts import model_facts
from gradleak.specs import ModelSpec
from gradleak.study.cell import Cell
from gradleak.study.checks import check_views

# A ConvNet of one 3x3 convolution with 4 channels, then 4 x 4 x 4 inputs to 10 classes on 8x8 images.
CONV, HEAD = 4 * 3 * 3 * 3 + 4, 64 * 10 + 10
TINY = ModelSpec(name="convnet", options={"channels": 4, "stages": 1, "layers": 1})


def test_parameters_are_counted_and_a_view_has_its_share():
    assert model_facts(TINY, 10, 8) == {"model_parameters": CONV + HEAD, "model_skips": 0, "params_ratio": 1.0}
    assert model_facts(TINY, 10, 8, ("head",))["params_ratio"] == pytest.approx(HEAD / (CONV + HEAD))
    assert model_facts(TINY, 10, 8, ("conv1", "head"))["params_ratio"] == 1


@pytest.mark.parametrize(
    ("name", "options", "skips"),
    [
        ("resnet18", {}, 8),
        ("resnet18", {"cut": 0}, 7),
        ("resnet18", {"cut": -1}, 8),
        ("resnet34", {"cut": 15}, 15),
        ("densenet121", {}, sum(n * (n + 1) // 2 for n in (6, 12, 24, 16))),
        ("googlenet", {}, 0),
    ],
)
def test_skip_connections_are_counted(name, options, skips):
    assert model_facts(ModelSpec(name=name, width=0.125, options=options), 10, 32)["model_skips"] == skips


def test_facts_do_not_depend_on_round_or_seed():
    assert model_facts(TINY, 10, 8) == model_facts(TINY.model_copy(update={"init_seed": 3}), 10, 8)


def test_a_view_of_what_the_model_does_not_have_is_refused_before_anything_runs():
    def cell(view):
        attack = {"name": "gia-o", "view": view}
        content = {"dataset": {"name": "photos10", "resolution": 8}, "model": TINY, "attack": attack, "victims": [0]}
        return Cell.model_validate({**content, "client": {}, "knowledge_level": 1, "seed": 0})

    check_views([cell(["head"]), cell(None)])
    with pytest.raises(UserError, match="nin3") as error:
        check_views([cell(["head"]), cell(["nin3"])])
    assert "\n" not in str(error.value)


def test_the_table_of_the_docs_has_every_model_with_its_numbers():
    text = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (\d+) \|", text, re.M)
    assert sorted(name for name, *_ in rows) == sorted(MODELS)
    for name, parameters, skips in rows:
        facts = model_facts(ModelSpec(name=name), 10, 32)
        assert (facts["model_parameters"], facts["model_skips"]) == (int(parameters.replace(",", "")), int(skips)), name
