"""The stage smoothness: equal to the library, resumed, joined to the rows of the cells that ask for it."""

import json

import pandas as pd
import pytest
import yaml
from core_cases import gradleak

from gradleak.errors import UserError
from gradleak.parquet import write_parquet
from gradleak.smoothness.igsa import forward_igsa, igsa
from gradleak.smoothness.spec import ForwardSettings, IgsaSettings
from gradleak.stages import smoothness
from gradleak.stages.collect import collect
from gradleak.stages.common import dataset_of, global_model
from gradleak.stages.session import Session
from gradleak.stages.smoothness import write_smoothness
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.cost import Cost, forward_flops, smoothness_cost
from gradleak.study.expand import load_study
from gradleak.study.outline import Outline
from gradleak.study.planning import make_plan

DEFAULTS = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1, "norm": True}},
    "client": {"samples": 1, "lr": 0.1},
    "attack": {"name": "gia-o", "descent": {"iterations": 3}},
}
FINITE = {"method": "finite", "samples": 8, "radius": 0.01}
FORWARD = {"method": "forward", "samples": 8}
COLUMNS = ["igsa", "igsa_standard_error", "igsa_low", "igsa_high", "igsa_samples"]


def cell_of(**changes):
    return Cell.parse(DEFAULTS | {"victims": [0]} | changes, "here")


def plan_of(folder, blocks):
    experiments = {"a": {"title": "A", "paper": "P", "show": [], "cells": blocks}}
    content = {"title": "S", "defaults": DEFAULTS, "trials": {"count": 2}, "experiments": experiments}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return make_plan(load_study(folder / "study.yaml"), Config.parse({"device": "cpu"}, "here"))


@pytest.fixture
def plan(tmp_path):
    blocks = [{}, {"set": {"smoothness": FINITE}}, {"set": {"smoothness": FORWARD}}]
    return plan_of(tmp_path, blocks)


def test_what_is_measured_changes_the_id_and_neither_the_family_nor_the_checkpoint():
    plain, finite, forward = cell_of(), cell_of(smoothness=FINITE), cell_of(smoothness=FORWARD)
    assert len({plain.id, finite.id, forward.id}) == 3
    assert len({plain.family, finite.family, forward.family}) == 1
    assert len({plain.checkpoint, finite.checkpoint, forward.checkpoint}) == 1
    assert "smoothness" not in plain.model_dump(mode="json")
    assert finite.factors()["smoothness_method"] == "finite"
    assert Cell.parse(forward.model_dump(mode="json"), "here") == forward


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"method": "finit"}, "here: smoothness: .*'finite', 'forward'"),
        ({"samples": 8}, "here: smoothness: .*'method'"),
        ({"method": "finite", "sample": 8}, r"here: smoothness\.finite\.sample: unknown key"),
        ({"method": "finite", "samples": 1}, r"here: smoothness\.finite\.samples: .*2 \(found 1\)"),
    ],
)
def test_each_mistake_is_one_line(part, message):
    with pytest.raises(UserError, match=message) as caught:
        cell_of(smoothness=part)
    assert "\n" not in str(caught.value)


def test_values_are_those_of_the_library(plan, tmp_path):
    (batch,) = plan.batches
    assert plan.smoothness_batches == [batch]
    plan.write(tmp_path / "plan.json")
    out = tmp_path / "smoothness.parquet"
    options = ("--plan", tmp_path / "plan.json", "--batch", batch, "--checkpoints", tmp_path / "checkpoints")
    ran = gradleak("smoothness", *options, "--out", out)
    assert ran.code == 0, ran.err
    rows = pd.read_parquet(out).set_index("cell_id")
    assert list(rows.columns) == COLUMNS
    asked = [cell for cell in plan.cells.values() if cell.smoothness is not None]
    assert list(rows.index) == [cell.id for cell in asked]
    for cell in asked:
        dataset = dataset_of(cell, plan.config)
        images, labels = dataset.images("test", cell.victims), dataset.labels("test", cell.victims)
        model = global_model(cell, plan.config, tmp_path / "checkpoints")
        if cell.smoothness.method == "finite":
            found = igsa(model, images, labels, IgsaSettings(samples=8, radius=0.01))
        else:
            found = forward_igsa(model, images, labels, ForwardSettings(samples=8))
        expected = [found.igsa, found.standard_error, found.low, found.high, found.samples]
        assert rows.loc[cell.id].tolist() == expected
    assert not out.with_name(out.name + ".state").exists()


def test_a_killed_job_goes_on_with_the_next_cell_and_writes_the_same_bytes(plan, tmp_path, monkeypatch):
    (batch,) = plan.batches
    whole, out = tmp_path / "whole.parquet", tmp_path / "killed.parquet"
    write_smoothness(plan, batch, tmp_path / "checkpoints", whole, Session())
    measured = []
    measure = smoothness.measure

    def counting(*arguments):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(1)
        return measure(*arguments)

    monkeypatch.setattr(smoothness, "measure", counting)
    with pytest.raises(KeyboardInterrupt):
        write_smoothness(plan, batch, tmp_path / "checkpoints", out, Session())
    assert not out.exists()
    assert len(json.loads((tmp_path / "killed.parquet.state").read_text())) == 3
    measured[:] = [1, 1]  # one more is allowed: the fourth
    write_smoothness(plan, batch, tmp_path / "checkpoints", out, Session())
    assert out.read_bytes() == whole.read_bytes()


def test_a_cell_without_igsa_is_named_and_a_batch_that_asks_for_none_is_refused(tmp_path):
    rounded = {"method": "finite", "samples": 8, "radius": 1e-9, "precision": "float32"}
    plan = plan_of(tmp_path, [{"set": {"smoothness": rounded}}])
    cell = next(iter(plan.cells.values()))
    (batch,) = plan.batches
    with pytest.raises(UserError, match=rf"^cell {cell.id} \(model 'convnet', round 0\): IGSA: precision is 'float32'"):
        write_smoothness(plan, batch, tmp_path / "checkpoints", tmp_path / "out.parquet", Session())
    plan = plan_of(tmp_path, [{}])
    (batch,) = plan.batches
    with pytest.raises(UserError, match="no cell has the part 'smoothness'"):
        write_smoothness(plan, batch, tmp_path / "checkpoints", tmp_path / "out.parquet", Session())


def rows_of(plan, path):
    write_parquet(
        pd.DataFrame([{"cell_id": cell, "restart": 0, "position": 0, "psnr": 1.0} for cell in plan.cells]), path
    )


def test_collect_joins_the_columns_to_the_cells_that_ask_for_them(plan, tmp_path):
    (batch,) = plan.batches
    rows_of(plan, tmp_path / "shard.parquet")
    write_smoothness(plan, batch, tmp_path / "checkpoints", tmp_path / f"{batch}.parquet", Session())
    outline = Outline.parse(plan.text())
    collect(outline, [tmp_path / "shard.parquet"], tmp_path / "results.parquet", tmp_path, tmp_path)
    results = pd.read_parquet(tmp_path / "results.parquet").set_index("cell_id")
    assert list(results.index) == list(plan.cells)
    assert "model_accuracy" not in results.columns
    found = pd.read_parquet(tmp_path / f"{batch}.parquet").set_index("cell_id")
    for name, cell in plan.cells.items():
        if cell.smoothness is None:
            assert results.loc[name, COLUMNS].isna().all()
        else:
            assert results.loc[name, COLUMNS].tolist() == found.loc[name].tolist()
    write_parquet(found.reset_index().iloc[1:], tmp_path / f"{batch}.parquet")
    with pytest.raises(UserError, match=f"no IGSA of cell {found.index[0]}; run `gradleak smoothness`"):
        collect(
            Outline.parse(plan.text()), [tmp_path / "shard.parquet"], tmp_path / "results.parquet", tmp_path, tmp_path
        )
    plain = plan_of(tmp_path, [{}])
    rows_of(plain, tmp_path / "shard.parquet")
    collect(Outline.parse(plain.text()), [tmp_path / "shard.parquet"], tmp_path / "results.parquet", tmp_path, tmp_path)
    assert "igsa" not in pd.read_parquet(tmp_path / "results.parquet").columns


TRAINING = {"clients": 2, "rounds": 2, "images": 40, "evaluate": 20}


@pytest.mark.parametrize(("other", "known"), [({"lr": 0.5}, True), ({"seed": 1}, False), ({"evaluate": 30}, False)])
def test_round_0_has_the_accuracy_of_any_training_with_the_same_test_images(tmp_path, other, known):
    blocks = [{"set": {"model.training": TRAINING | more}, "axes": [{"model.round": [0, 2]}]} for more in ({}, other)]
    blocks.append({"set": {"model.init_seed": 7}})
    plan = plan_of(tmp_path, blocks)
    for value, training in enumerate(plan.trainings):
        accuracies = [0.1, 0.2, 0.3 + value]
        write_parquet(pd.DataFrame({"round": [0, 1, 2], "accuracy": accuracies}), tmp_path / f"{training}.parquet")
    rows_of(plan, tmp_path / "shard.parquet")
    collect(Outline.parse(plan.text()), [tmp_path / "shard.parquet"], tmp_path / "results.parquet", trainings=tmp_path)
    found = pd.read_parquet(tmp_path / "results.parquet").set_index("cell_id")["model_accuracy"]
    for name, cell in plan.cells.items():
        if cell.model.init_seed == 7:
            assert pd.isna(found[name])
        elif cell.model.round == 0:
            assert found[name] == 0.1 if known else pd.isna(found[name])
    later = [found[name] for name, cell in plan.cells.items() if cell.model.round == 2]
    assert later == [0.3, 0.3, 1.3, 1.3]


def test_cost_is_that_of_the_draws():
    plain, finite = cell_of(), cell_of(smoothness={"method": "finite", "samples": 1000})
    forward = forward_flops(plain.model, 16)
    assert smoothness_cost(plain, "cpu") == Cost()
    assert smoothness_cost(finite, "cpu").operations == pytest.approx(6000 * forward)
    single = cell_of(smoothness={"method": "finite", "samples": 1000, "precision": "float32"})
    assert smoothness_cost(single, "cpu").operations == pytest.approx(3000 * forward)
    early = cell_of(smoothness={"method": "forward", "samples": 1000})  # ends at 1 %, which the first look has
    assert smoothness_cost(early, "cpu").operations == pytest.approx(4 * 128 * forward)
