"""A study whose models change: what is attacked again is what the change decides."""

import re

import pytest
from test_workflow import Checkout, checkout  # noqa: F401  # the fixture

from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan

STUDY = "tests/workflow/models.yaml"
CONTENT = """
title: Two models
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 2, layers: 1, norm: true}}
  client: {samples: 1, lr: 0.1}
  attack: {name: gia-o, descent: {iterations: 2}}
experiments:
  models:
    title: Models
    paper: Table 3
    cells:
      - axes: [{client.samples: [1, 2]}]
      - {set: {model: {name: resnet18, width: 0.0625, options: {}}}}
    show: []
"""
MORE = "      - {set: {model: {name: densenet43, width: 0.125, options: {}}}}\n"
STEPS = ("compute_updates", "reconstruct_batch", "score_batch")
RESULT = "results/models/results.parquet"


class Study:
    """A checkout with a study of two models whose attacks are done."""

    def __init__(self, place: Checkout) -> None:
        self.place = place
        self.study = place.folder / STUDY
        self.study.write_text(CONTENT)
        done = place.snakemake(RESULT, study=STUDY)
        assert done.returncode == 0, done.stderr[-3000:]

    @property
    def batches(self) -> dict[str, str]:
        """The batch of each model."""
        plan: Plan = make_plan(load_study(self.study), Config.parse({"device": "cpu"}, "here"))
        return {plan.batch_cells(name)[0].model.name: name for name in plan.batches}

    def computed_again(self) -> list[list[str]]:
        """The batches of which updates, attacks and scores would be computed, in this order."""
        planned = self.place.snakemake("--dry-run", RESULT, study=STUDY)
        assert planned.returncode == 0, planned.stdout[-2000:] + planned.stderr[-2000:]
        pattern = r"^rule {}:\n(?:    .*\n)*?    wildcards: batch=(\w+)"
        return [sorted(re.findall(pattern.format(rule), planned.stdout, re.M)) for rule in STEPS]


@pytest.mark.slow
def test_what_is_attacked_again_is_what_a_change_of_models_decides(checkout):  # noqa: F811
    done = Study(checkout("models"))
    assert done.computed_again() == [[]] * 3

    # The code that makes a model's initial weights.
    model = done.place.folder / "src/gradleak/models/resnet.py"
    text = model.read_text()
    model.write_text(f"{text}\n# edited\n")
    assert done.computed_again() == [[done.batches["resnet18"]]] * 3
    model.write_text(text)

    # What all models' initial weights are made by.
    common = done.place.folder / "src/gradleak/stages/common.py"
    text = common.read_text()
    common.write_text(f"{text}\n# edited\n")
    assert done.computed_again() == [sorted(done.batches.values())] * 3
    common.write_text(text)

    # A model more: only its own cells.
    done.study.write_text(CONTENT.replace("    show: []", f"{MORE}    show: []"))
    assert done.computed_again() == [[done.batches["densenet43"]]] * 3
