"""The numbers that docs/models.md states are those of the models."""

import re
from pathlib import Path

import torch
from core_cases import MEAN, STD

from gradleak.models.base import MODELS, build_model
from gradleak.models.structure import skip_connections
from gradleak.specs import ModelSpec

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def measured(name, **options):
    with torch.device("meta"):
        model = build_model(ModelSpec(name=name, options=options), 10, 32, MEAN, STD)
    return sum(value.numel() for value in model.parameters()), skip_connections(model)


def test_every_model_is_listed_with_its_parameters_and_skips():
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (\d+) \|", TEXT, flags=re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == list(MODELS)
    for name, parameters, skips in rows:
        assert measured(name) == (int(parameters.replace(",", "")), int(skips))


def test_every_variant_is_listed_with_its_parameters_and_skips():
    rows = re.findall(r"^\| (\d) \|[^|]*\| ([\d,]+) / ([\d,]+) \| (\d+) / (\d+) \|", TEXT, flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["0", "1", "2"]
    for variant, small, large, small_skips, large_skips in rows:
        assert measured("densenet43", variant=int(variant)) == (int(small.replace(",", "")), int(small_skips))
        assert measured("densenet53", variant=int(variant)) == (int(large.replace(",", "")), int(large_skips))
