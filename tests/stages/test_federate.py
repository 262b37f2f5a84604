"""Stage federate on photographs: checkpoints and accuracies, resumed and extended with the same bytes."""

import json

import pandas as pd
import pytest
import torch
import yaml
from auxiliary_cases import Killed
from core_cases import gradleak
from safetensors.torch import load, load_file

from gradleak.data.opening import open_dataset
from gradleak.errors import UserError
from gradleak.metrics.backbone import fetch_backbone
from gradleak.stages import federate
from gradleak.stages.common import global_model, initial_model
from gradleak.stages.data import record_dataset
from gradleak.stages.federate import model_of, write_training
from gradleak.stages.session import Session, silent
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.ids import training_id
from gradleak.study.planning import make_plan

TRAINING = {
    "clients": 2,
    "rounds": 5,
    "epochs": 2,
    "batch_size": 16,
    "lr": 0.1,
    "momentum": 0.5,
    "images": 200,
    "evaluate": 200,
    "augment": "flip",
}
DEFAULTS = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {
        "name": "convnet",
        "options": {"channels": 4, "stages": 2, "layers": 1, "norm": True},
        "training": TRAINING,
    },
    "client": {"samples": 1, "lr": 0.1},
    "attack": {"name": "gia-o", "descent": {"iterations": 3}},
}


def plan_of(folder, rounds, config=None, **sets):
    axes = {"set": sets, "axes": [{"model.round": list(rounds)}]}
    experiments = {"a": {"title": "A", "paper": "P", "show": [], "cells": [axes]}}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"title": "S", "defaults": DEFAULTS, "experiments": experiments}))
    return make_plan(load_study(path), config or Config.parse({"device": "cpu"}, "here"))


def run(folder, rounds, progress=silent, config=None, **sets):
    """Train as the command does; returns the bytes of the checkpoints by round, and of the accuracies."""
    plan = plan_of(folder, rounds, config, **sets)
    (training,) = plan.trainings
    paths = {number: folder / "checkpoints" / f"{name}.safetensors" for number, name in plan.rounds(training).items()}
    for path in paths.values():
        path.unlink(missing_ok=True)  # as Snakemake does with the outputs of a job before it runs
    out = folder / "trainings" / f"{training}.parquet"
    write_training(plan.training_cell(training), paths, plan.config, out, Session(progress=progress))
    return {number: path.read_bytes() for number, path in paths.items()}, out.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("federate")


@pytest.fixture(scope="module")
def done(place):
    return run(place, [1, 3])


class Counter:
    """Counts trained clients; raises after some."""

    def __init__(self, after=None):
        self.calls, self._after = [], after

    def __call__(self, label, total):
        self.total = total
        return self._count

    def _count(self, clients):
        self.calls.append(clients)
        if self._after is not None and sum(self.calls) >= self._after:
            raise Killed


def test_accuracy_has_a_row_per_round_and_beats_chance(place, done):
    plan = plan_of(place, [1, 3])
    (training,) = plan.trainings
    frame = pd.read_parquet(place / "trainings" / f"{training}.parquet")
    assert frame["round"].tolist() == [0, 1, 2, 3]
    assert (frame["images"] == 200).all()
    assert (frame["training_id"] == training).all()
    assert frame["model_training_epochs"].tolist() == [2] * 4
    assert frame["dataset_name"].tolist() == ["photos10"] * 4
    assert frame["accuracy"].iloc[0] < 0.25
    assert frame["accuracy"].iloc[3] > 0.3
    assert frame["loss"].iloc[3] < frame["loss"].iloc[0]
    facts = json.loads((place / "trainings" / f"{training}.parquet.provenance.json").read_text())
    assert facts["training"] == training


def test_a_checkpoint_is_the_model_that_has_the_accuracy_of_its_round(place, done):
    plan = plan_of(place, [1, 3])
    frame = pd.read_parquet(place / "trainings" / f"{next(iter(plan.trainings))}.parquet")
    data = open_dataset("photos10", 16, {})
    found = {}
    for cell in plan.cells.values():
        model = global_model(cell, plan.config, place / "checkpoints")
        right = sum(
            int((model(data.images("test", rows)).argmax(1) == data.labels("test", rows)).sum())
            for rows in torch.arange(500).split(250)
        )
        found[cell.model.round] = right / 500
    for number, accuracy in found.items():  # on 200 of the 500 images
        assert accuracy == pytest.approx(frame["accuracy"].iloc[number], abs=0.08)
    first, last = (load_file(place / "checkpoints" / f"{name}.safetensors") for name in plan.checkpoints)
    assert not torch.equal(first["network.fc.weight"], last["network.fc.weight"])
    assert first.keys() == initial_model(cell, data).state_dict().keys()


@pytest.mark.parametrize("after", [1, 3, 4, 6])
def test_a_killed_training_goes_on_and_writes_the_same_bytes(done, tmp_path, after):
    with pytest.raises(Killed):
        run(tmp_path, [1, 3], Counter(after))
    assert not list(tmp_path.glob("*/*.parquet"))
    again = Counter()
    assert run(tmp_path, [1, 3], again) == done
    finished = (after - 1) // 2  # a client is counted before its round is saved
    assert again.calls == [2 * finished] + [1] * (6 - 2 * finished)
    assert again.total == 6


def test_more_rounds_go_on_from_the_last_and_leave_the_others_as_they_are(done, tmp_path):
    checkpoints, _ = done
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", [1, 3, 4])
    assert run(tmp_path, [1, 3]) == done
    count = Counter()
    assert run(tmp_path, [1, 3, 4], count) == whole
    assert count.calls == [6, 1, 1]
    assert {number: whole[0][number] for number in (1, 3)} == checkpoints
    # Fewer again: nothing to train, and what it would have written alone.
    count = Counter()
    assert run(tmp_path, [1, 3], count) == done
    assert count.calls == []
    # A round in between was not kept: from the last one before it that was.
    count = Counter()
    found, _ = run(tmp_path, [1, 2, 3], count)
    assert count.calls == [2, 1, 1, 1, 1]
    assert {number: found[number] for number in (1, 3)} == checkpoints


def test_a_killed_training_with_noise_writes_the_same_bytes(done, tmp_path):
    defenses = [{"name": "clip", "bound": 5.0}, {"name": "noise", "multiplier": 0.02}]
    sets = {"model.training.post_processing": defenses}
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", [1, 3], **sets)
    assert whole[0][1] != done[0][1]
    with pytest.raises(Killed):
        run(tmp_path, [1, 3], Counter(3), **sets)
    assert run(tmp_path, [1, 3], **sets) == whole
    frame = pd.read_parquet(next((tmp_path / "trainings").glob("*.parquet")))
    assert (frame["model_training_post_processing"] == "clip + noise").all()
    assert (frame["model_training_post_processing_noise_multiplier"] == 0.02).all()


def test_a_killed_training_of_mixed_precision_writes_the_same_bytes(done, tmp_path):
    sets = {"model.training.precision": "mixed"}
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", [1, 3], **sets)
    assert whole[0][3] != done[0][3]
    assert {value.dtype for value in load(whole[0][3]).values() if value.is_floating_point()} == {torch.float32}
    with pytest.raises(Killed):
        run(tmp_path, [1, 3], Counter(3), **sets)
    assert run(tmp_path, [1, 3], **sets) == whole
    frame = pd.read_parquet(next((tmp_path / "trainings").glob("*.parquet")))
    assert (frame["model_training_precision"] == "mixed").all()
    assert frame["accuracy"].iloc[3] > 0.3


@pytest.mark.parametrize("change", ["code", "data"])
def test_what_other_code_or_data_made_is_not_used(done, tmp_path, monkeypatch, change):
    run(tmp_path, [1])
    if change == "code":
        monkeypatch.setattr(federate, "code_digest", lambda modules: "edited")
    else:
        from gradleak.data.photos10 import Photos10

        monkeypatch.setattr(Photos10, "fingerprint", lambda self: "other")
    count = Counter()
    found, _ = run(tmp_path, [1], count)
    assert count.calls == [0, 1, 1]
    assert found[1] == done[0][1]


@pytest.mark.parametrize("damage", ["weights", "accuracy"])
def test_a_damaged_state_is_computed_again(done, tmp_path, damage):
    run(tmp_path, [1, 3])
    (state,) = tmp_path.glob("trainings/*.state")
    if damage == "weights":
        path = state / "round_3.safetensors"
        content = path.read_bytes()
        path.unlink()  # it is one file with the checkpoint
        path.write_bytes(content[: len(content) // 2])
    else:
        (state / "accuracy.json").write_text("[")
    count = Counter()
    assert run(tmp_path, [1, 3], count) == done
    assert len(count.calls) == (5 if damage == "weights" else 7)


def test_the_commands_write_the_same_bytes(done, tmp_path):
    plan = plan_of(tmp_path, [0, 1, 3])
    plan.write(tmp_path / "plan.json")
    (training,) = plan.trainings
    options = ("--plan", tmp_path / "plan.json")
    checkpoints = tmp_path / "checkpoints"
    out = ("--checkpoints", checkpoints, "--out", tmp_path / "accuracy.parquet")
    ran = gradleak("federate", *options, "--training", training, *out)
    assert ran.code == 0, ran.err
    assert {n: (checkpoints / f"{i}.safetensors").read_bytes() for n, i in plan.rounds(training).items()} == done[0]
    assert (tmp_path / "accuracy.parquet").read_bytes() == done[1]
    for name, cell in plan.checkpoints.items():
        ran = gradleak("train", *options, "--checkpoint", name, "--out", tmp_path / "one.safetensors")
        if plan.cells[cell].model.round == 0:
            assert ran.code == 0, ran.err
        else:
            assert ran.code == 2
            assert f"run `gradleak federate --training {training}`" in ran.err
    assert gradleak("federate", *options, "--training", "0" * 16, *out).code == 2


def test_a_label_space_view_gets_the_model_of_the_label_spaces_images(tmp_path):
    from PIL import Image

    random = torch.Generator().manual_seed(0)
    for split, count in (("train", 20), ("val", 5)):
        for label, colour in enumerate([(200, 40, 40), (40, 40, 200)]):
            folder = tmp_path / "data" / split / f"c{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = torch.tensor(colour) + torch.randint(-30, 30, (20, 20, 3), generator=random)
                Image.fromarray(pixels.clamp(0, 255).byte().numpy()).save(folder / f"{index}.png")
    source = {"mine": {"source": "folder", "path": str(tmp_path / "data")}}
    config = Config.parse({"device": "cpu", "data": source}, "here")
    sets = {"dataset": {"name": "photos10", "resolution": 16, "classes": {"rocket": "c0"}, "label_space": "mine"}}
    sets |= {"model.training.images": 40, "model.training.evaluate": None}
    run(tmp_path, [2], silent, config, **sets)
    plan = plan_of(tmp_path, [2], config, **sets)
    (training,) = plan.trainings
    frame = pd.read_parquet(tmp_path / "trainings" / f"{training}.parquet")
    assert (frame["dataset_name"] == "mine").all()
    assert (frame["images"] == 10).all()
    assert frame["accuracy"].iloc[-1] == 1.0
    (cell,) = plan.cells.values()
    assert global_model(cell, config, tmp_path / "checkpoints").num_classes == 2
    for name, images in (("mine", 40), ("photos10", 2000)):
        record_dataset(plan, name, tmp_path / f"{name}.json")
        assert json.loads((tmp_path / f"{name}.json").read_text())["train"] == images
    own = plan_of(tmp_path, [2], config, **(sets | {"dataset": {"name": "mine", "resolution": 16}}))
    assert own.trainings == plan.trainings


def test_a_single_attack_trains_the_round_that_the_cache_lacks(done, tmp_path, cache):
    (tmp_path / "cache").mkdir()
    backbone = fetch_backbone(cache)
    (tmp_path / "cache" / backbone.name).symlink_to(backbone.resolve())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"device": "cpu", "cache": str(tmp_path / "cache")}))
    content = DEFAULTS | {"model": DEFAULTS["model"] | {"round": 1}, "victims": [0]}
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(content))
    options = ("--config", tmp_path / "config.yaml", "--out")
    first = gradleak("attack", tmp_path / "cell.yaml", *options, tmp_path / "first")
    assert first.code == 0, first.err
    assert "federated training convnet" in first.err
    (path,) = (tmp_path / "cache/checkpoints").glob("*.safetensors")
    assert path.read_bytes() == done[0][1]
    again = gradleak("attack", tmp_path / "cell.yaml", *options, tmp_path / "again")
    assert again.code == 0, again.err
    assert "federated training" not in again.err
    assert (tmp_path / "first/result.parquet").read_bytes() == (tmp_path / "again/result.parquet").read_bytes()
    assert pd.read_parquet(tmp_path / "first/result.parquet")["model_round"].tolist() == [1]


def test_a_missing_and_a_damaged_checkpoint_are_one_line(place, done, tmp_path):
    plan = plan_of(tmp_path, [1])
    (cell,) = plan.cells.values()
    (name,) = plan.checkpoints
    with pytest.raises(UserError, match=rf"{name}\.safetensors: checkpoint is missing; run `gradleak federate`$"):
        global_model(cell, plan.config, tmp_path)
    content = (place / "checkpoints" / f"{name}.safetensors").read_bytes()
    (tmp_path / f"{name}.safetensors").write_bytes(content[:500])
    with pytest.raises(UserError, match=rf"{name}\.safetensors: not a checkpoint of model 'convnet' \(") as caught:
        global_model(cell, plan.config, tmp_path)
    assert "\n" not in str(caught.value)
    assert torch.equal(
        model_of(cell, plan.config, place / "checkpoints", Session()).network.fc.weight,
        global_model(cell, plan.config, place / "checkpoints").network.fc.weight,
    )
    assert training_id(cell, plan.config) in plan.trainings
