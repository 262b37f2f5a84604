"""Cells that differ in the checkpoint's weights only: one run where that is faster, with what each has alone."""

import pytest
import torch
from auxiliary_cases import Killed, killing
from safetensors.torch import load_file

from gradleak.attacks import matching
from gradleak.attacks.base import ATTACKS
from gradleak.models.base import build_model, set_bn_mode
from gradleak.specs import ModelSpec
from gradleak.stages.reconstruct import write_reconstructions
from gradleak.stages.session import Session, silent
from gradleak.stages.update import write_updates
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.planning import make_plan

STUDY = """
title: Three checkpoints, and another descent on two of them in between
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 1, layers: 1, norm: true}}
  attack: {name: gia-o, priors: {tv: 0.01}, descent: {iterations: 45, signed: false, lr: 0.01}}
trials: {count: 2}
experiments:
  one:
    title: One
    paper: None
    show: []
    cells:
      - set: {model.init_seed: 0}
      - {axes: [{model.init_seed: [0, 1]}], set: {attack.descent.iterations: 20}}
      - axes: [{model.init_seed: [1, 2]}]
"""


class Place:
    """A folder with the checkpoints and updates of the study's one batch."""

    def __init__(self, folder, cache):
        self.folder, study = folder, folder / "study.yaml"
        study.write_text(STUDY)
        self.config = Config.parse({"device": "cpu", "cache": str(cache), "jobs": {"save_every_s": 0}}, "here")
        self.plan = make_plan(load_study(study), self.config)
        (self.batch,) = self.plan.batches
        write_updates(self.plan, self.batch, folder, folder / "updates")

    def reconstruct(self, name, progress=silent):
        out = self.folder / name
        write_reconstructions(
            self.plan, self.batch, self.folder / "updates", self.folder, self.folder, out, Session(progress=progress)
        )
        return load_file(out)


@pytest.fixture(scope="module")
def place(tmp_path_factory, cache):
    return Place(tmp_path_factory.mktemp("joined"), cache)


def runs_of(place, name):
    """Labels of the progress of every run, and what they wrote."""
    labels = []

    def progress(label, total):
        labels.append(label)
        return lambda iterations: None

    return labels, place.reconstruct(name, progress)


def test_families_that_differ_in_weights_are_packed_next_to_each_other(place):
    groups = place.plan.joinable(place.batch)
    found = [[(cells[0].attack.total_iterations, cells[0].model.init_seed) for cells in group] for group in groups]
    assert found == [[(45, 0), (45, 1), (45, 2)], [(20, 0), (20, 1)]]
    assert all(len(cells) == 2 for group in groups for cells in group)
    assert [cells for group in groups for cells in group] == place.plan.families(place.batch)


def test_one_run_finds_what_each_checkpoint_alone_does(place, monkeypatch):
    labels, joined = runs_of(place, "joined")
    assert [label.split(", ")[1] for label in labels] == ["6 updates of 3 checkpoints", "4 updates of 2 checkpoints"]
    monkeypatch.setattr(matching, "_JOINED_IMAGES", 1)  # two trials per checkpoint are above
    labels, alone = runs_of(place, "alone")
    assert [label.split(", ")[1] for label in labels] == ["2 updates"] * 5
    assert joined.keys() == alone.keys()
    for name, value in alone.items():
        assert torch.allclose(joined[name].double(), value.double(), atol=2e-4), name
    images = [value for name, value in alone.items() if name.endswith("/images")]
    assert all((one - other).abs().max() > 0.05 for one in images for other in images if one is not other)


def test_a_killed_run_of_several_checkpoints_goes_on_and_writes_the_same_bytes(place):
    place.reconstruct("whole")

    with pytest.raises(Killed):
        place.reconstruct("resumed", lambda label, total: killing(30))
    counted = []
    place.reconstruct("resumed", lambda label, total: counted.append)
    assert counted[0] == 20
    assert (place.folder / "resumed").read_bytes() == (place.folder / "whole").read_bytes()


@pytest.mark.parametrize(
    ("changes", "joined"),
    [
        ({}, True),
        ({"images": 5}, False),
        ({"device": "cuda"}, False),
        ({"knowledge": "wst"}, False),
        ({"bn_mode": "train"}, False),
        ({"width": 4.0}, False),
        ({"view": ("fc",)}, True),
        ({"view": ("fc.bias",)}, False),
    ],
)
def test_the_rule_for_one_run(changes, joined):
    given = {"images": 4, "device": "cpu", "bn_mode": "eval", "width": 1.0, "knowledge": "bst", "view": None} | changes
    spec = ModelSpec(name="convnet", width=given["width"], options={"channels": 32, "norm": True})
    model = set_bn_mode(build_model(spec, 10, 16, (0.5,) * 3, (0.5,) * 3), given["bn_mode"])
    attack = ATTACKS["gia-o"](knowledge=given["knowledge"], view=given["view"])
    assert attack.joins(model, given["images"], given["device"]) == joined
