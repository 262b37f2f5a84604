"""The stages in a row on a two-cell study: same bytes twice, by functions and by commands, whole or not at all."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from auxiliary_cases import Killed, killing
from core_cases import documented_columns, gradleak
from safetensors.torch import load_file, save_file

from gradleak.data.photos10 import Photos10
from gradleak.errors import UserError
from gradleak.federated.client import drawn_order, local_update
from gradleak.models.base import build_model
from gradleak.parquet import read_parquet, write_parquet
from gradleak.specs import ClientSpec
from gradleak.stages.collect import collect
from gradleak.stages.common import dataset_of, global_model
from gradleak.stages.data import record_dataset
from gradleak.stages.reconstruct import write_reconstructions
from gradleak.stages.score import update_facts, write_scores
from gradleak.stages.session import Session, silent
from gradleak.stages.update import InMemory, pack_update, read_updates, write_updates
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.outline import Outline
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan

ROOT = Path(__file__).parents[2]
STUDY = """
title: Two cells
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 1, layers: 1, norm: true}}
  client: {samples: 3, batch_size: 2, lr: 0.1}
  knowledge_level: 4
  attack: {name: gia-o, restarts: 2, priors: {tv: 0.01, bn: 0.001}, descent: {iterations: 45, schedule: cosine}}
trials: {count: 2}
experiments:
  one: {title: One, paper: None, show: [], cells: [{}]}
"""
SAMPLES, RESTARTS, CELLS = 3, 2, 2


def kill(label, total):
    return killing(30)


class Place:
    """A folder with a plan and the files of its stages."""

    def __init__(self, folder, cache):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "two.yaml").write_text(STUDY)
        self.config = Config.parse({"device": "cpu", "cache": str(cache), "jobs": {"save_every_s": 0}}, "here")
        self.plan = make_plan(load_study(folder / "two.yaml"), self.config)
        (self.batch,) = self.plan.batches
        (self.checkpoint,) = self.plan.checkpoints
        self.cells = self.plan.batch_cells(self.batch)

    def __getitem__(self, name):
        return self.folder / name

    def trained(self):
        write_updates(self.plan, self.batch, self["checkpoints"], self["updates.safetensors"])
        return self

    def reconstruct(self, name="reconstructions.safetensors", progress=silent):
        folders = (self["updates.safetensors"], self["checkpoints"], self["auxiliary"])
        write_reconstructions(self.plan, self.batch, *folders, self[name], Session(progress=progress))

    def finished(self):
        self.trained().reconstruct()
        files = (self["reconstructions.safetensors"], self["shard.parquet"], self["images.parquet"])
        write_scores(self.plan, self.batch, *files)
        collect(Outline.parse(self.plan.text()), [self["shard.parquet"]], self["results.parquet"])
        return self


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache):
    return Place(tmp_path_factory.mktemp("stages") / "first", cache).finished()


@pytest.fixture
def results(done):
    return pd.read_parquet(done["results.parquet"])


FILES = ["updates.safetensors", "reconstructions.safetensors", "shard.parquet", "images.parquet", "results.parquet"]


def test_commands_in_another_folder_write_the_same_bytes(done, tmp_path, cache):
    place = Place(tmp_path, cache)
    place.plan.write(place["plan.json"])
    assert Plan.read(place["plan.json"]) == done.plan
    plan, batch = ("--plan", place["plan.json"]), ("--batch", place.batch)
    checkpoints, updates = ("--checkpoints", place["checkpoints"]), ("--updates", place["updates.safetensors"])
    for command in [
        ("update", *plan, *batch, *checkpoints, "--out", place["updates.safetensors"]),
        ("reconstruct", *plan, *batch, *checkpoints, *updates, "--out", place["reconstructions.safetensors"]),
        (
            *("score", *plan, *batch, "--reconstructions", place["reconstructions.safetensors"]),
            *("--out", place["shard.parquet"], "--images", place["images.parquet"]),
        ),
        ("collect", *plan, "--out", place["results.parquet"], place["shard.parquet"]),
    ]:
        ran = gradleak(*command)
        assert ran.code == 0, ran.err
    for name in FILES:
        assert place[name].read_bytes() == done[name].read_bytes(), name


def test_rows_are_images_times_restarts_of_every_cell(done, results):
    assert len(results) == CELLS * RESTARTS * SAMPLES
    keys = results[["cell_id", "restart", "position"]]
    expected = [
        (cell.id, restart, position)
        for cell in done.plan.cells.values()
        for restart in range(RESTARTS)
        for position in range(SAMPLES)
    ]
    assert list(keys.itertuples(index=False, name=None)) == expected
    for cell in done.plan.cells.values():
        rows = results[results["cell_id"] == cell.id]
        assert rows["image"].tolist() == list(cell.victims) * RESTARTS
        assert rows["label"].tolist() == [victim % 10 for victim in cell.victims] * RESTARTS
        assert (rows["family_id"] == cell.family).all()
        for column, value in cell.factors().items():
            found = rows[column].iloc[0]
            assert rows[column].nunique(dropna=False) == 1
            assert found == value or (value is None and pd.isna(found)), column
    assert results["client_protocol"].unique().tolist() == ["fedavg"]


def test_facts_of_the_model_are_columns(results):
    assert (results["params_ratio"] == 1).all()
    assert (results["model_parameters"] > 0).all()
    assert (results["model_skips"] == 0).all()


def test_every_column_is_documented(results):
    patterns = documented_columns().values()
    assert [name for name in results if not any(pattern.fullmatch(name) for pattern in patterns)] == []
    assert {"cell_id", "family_id", "restart", "chosen", "image", "label", "objective", "iterations"} <= set(
        results.columns
    )
    assert {"lpips", "psnr", "ssim", "mse"} <= set(results.columns)
    for name in ("lpips", "psnr", "ssim", "mse", "objective"):
        assert results[name].dtype == float
        assert results[name].notna().all()


def test_documentation_names_the_columns_as_they_are(results):
    missing = {name for name, pattern in documented_columns().items() if not any(map(pattern.fullmatch, results))}
    asked_for = (
        "igsa",
        "smoothness_",
        "model_training_",
        "model_accuracy",
        "post_processing_",
        "attack_view",
        "dataset_labels_",
    )
    rare = ("unattacked", "client_diverged")
    other_attacks = (
        "attack_adaptive",
        "attack_generator_",
        "attack_latent_",
        "attack_weights_",
        "attack_space_",
        "attack_enhance",
        "attack_surrogate_alpha",
        "surrogate_alpha",
        "attack_whitening_",
    )
    assert {name for name in missing if not name.startswith((*asked_for, *other_attacks, *rare))} == set()


def test_chosen_is_the_restart_with_the_lowest_objective(results):
    for _, rows in results.groupby("cell_id"):
        assert rows.groupby("restart")["objective"].nunique().tolist() == [1, 1]
        assert rows["objective"].nunique() == RESTARTS
        assert rows.loc[rows["chosen"], "restart"].nunique() == 1
        assert rows.loc[rows["chosen"], "objective"].iloc[0] == rows["objective"].min()
        assert rows["chosen"].sum() == SAMPLES
    assert (results["iterations"] == 45).all()


def test_pictures_are_the_victims_and_the_chosen_reconstructions(done, results):
    import io

    import numpy as np
    from PIL import Image

    pictures = pd.read_parquet(done["images.parquet"])
    assert len(pictures) == CELLS * SAMPLES
    merged = pictures.merge(results[results["chosen"]], on=["cell_id", "image"], suffixes=("", "_row"))
    assert len(merged) == len(pictures)
    assert (merged["lpips"] == merged["lpips_row"]).all()
    for picture in merged.to_dict("records"):
        truth, found = (
            np.asarray(Image.open(io.BytesIO(picture[name])), dtype=float) / 255
            for name in ("truth_png", "reconstruction_png")
        )
        photo = dataset_of(done.cells[0], done.config).images("test", [picture["image"]])[0]
        assert np.abs(truth - photo.permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6
        assert ((truth - found) ** 2).mean() == pytest.approx(picture["mse"], abs=2e-3)


def test_provenance_lies_beside_every_file_and_the_state_is_gone(done):
    for name in ("updates.safetensors", "reconstructions.safetensors", "shard.parquet"):
        facts = json.loads(done[f"{name}.provenance.json"].read_text())
        assert facts["batch"] == done.batch
        assert facts["file"] == name
    assert json.loads(done["reconstructions.safetensors.provenance.json"].read_text())["device"].startswith("cpu")
    assert not list(done.folder.glob("*.state"))
    assert not [path for path in done.folder.rglob("*") if path.name.startswith(".")]


def test_a_killed_attack_goes_on_from_its_state_and_writes_the_same_bytes(done, tmp_path, cache):
    place = Place(tmp_path, cache).trained()
    with pytest.raises(Killed):
        place.reconstruct(progress=kill)
    assert not place["reconstructions.safetensors"].exists()
    assert len(list(place["reconstructions.safetensors.state"].rglob("*.safetensors"))) == 1
    counted = []
    place.reconstruct(progress=lambda label, total: counted.append)
    assert counted[0] == 20
    assert sum(counted) == 45
    for name in ("updates.safetensors", "reconstructions.safetensors"):
        assert place[name].read_bytes() == done[name].read_bytes()
    assert not place["reconstructions.safetensors.state"].exists()


def test_attacking_never_looks_at_a_victim(done, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a victim image or label was read")

    monkeypatch.setattr(Photos10, "_images", refuse)
    monkeypatch.setattr(Photos10, "_labels", refuse)
    done.reconstruct("blind.safetensors")
    assert done["blind.safetensors"].read_bytes() == done["reconstructions.safetensors"].read_bytes()


def test_an_updates_file_holds_what_the_client_shares_and_no_image(done):
    content = load_file(done["updates.safetensors"])
    model = global_model(done.cells[0], done.config, done["checkpoints"])
    parts = {f"update/{name}" for name, _ in model.named_parameters()} | {
        "labels",
        "mean/0",
        "variance/0",
        "update_bits",
        "truth/losses",
        "truth/cosines",
    }
    assert set(content) == {f"{cell.id}/{part}" for cell in done.cells for part in parts}
    assert not any(value.shape[-3:] == (3, 16, 16) for value in content.values())


def test_each_knowledge_level_reads_no_more_than_it_grants(done):
    model = global_model(done.cells[0], done.config, done["checkpoints"])
    content = load_file(done["updates.safetensors"])
    for level, training, statistics in ((1, False, False), (3, True, False), (4, True, True)):
        attack = {"name": "gia-o", "labels": "inferred" if level == 3 else "known"}
        changes = {"knowledge_level": level, "attack": attack}
        cell = Cell.parse(done.cells[0].model_dump(mode="json") | changes, "here")
        renamed = {name.replace(done.cells[0].id, cell.id): value for name, value in content.items()}
        save_file(renamed, done["renamed.safetensors"])
        (seen,) = read_updates(done["renamed.safetensors"], [cell], model)
        assert (seen.training is not None) == training
        assert (seen.batch_statistics is not None) == statistics
        assert (seen.labels is None) == (level == 3)
        assert list(seen.update) == [name for name, _ in model.named_parameters()]


def test_the_model_of_round_0_is_the_seeded_one_and_can_be_written_as_a_file(done, tmp_path):
    done.plan.write(tmp_path / "plan.json")
    options = ("--plan", tmp_path / "plan.json", "--checkpoint", done.checkpoint)
    ran = gradleak("checkpoint", *options, "--out", tmp_path / "one.safetensors")
    assert ran.code == 0, ran.err
    model = global_model(done.cells[0], done.config, tmp_path / "none")
    written = load_file(tmp_path / "one.safetensors")
    assert written.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(written[name], value), name
    other = done.cells[0].model_copy(update={"model": done.cells[0].model.model_copy(update={"init_seed": 1})})
    fc = global_model(other, done.config, tmp_path / "none").network.fc.weight
    assert not torch.equal(fc, written["network.fc.weight"])


def test_a_missing_cell_fails_the_collection_and_leaves_no_file(done, results, tmp_path):
    for part in (results[results["cell_id"] == done.cells[0].id], results.iloc[:0]):
        write_parquet(part, tmp_path / "part.parquet")
        with pytest.raises(UserError, match=r"of 2 cells have no rows, the first is [0-9a-f]{16}$"):
            collect(Outline.parse(done.plan.text()), [tmp_path / "part.parquet"], tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_the_order_of_shards_does_not_matter_and_foreign_rows_are_left_out(done, results, tmp_path):
    for index, (_, rows) in enumerate(results.groupby("cell_id")):
        write_parquet(rows.iloc[::-1], tmp_path / f"{index}.parquet")
    write_parquet(results.assign(cell_id="0" * 16), tmp_path / "old.parquet")
    shards = [tmp_path / name for name in ("1.parquet", "old.parquet", "0.parquet")]
    collect(Outline.parse(done.plan.text()), shards, tmp_path / "a.parquet")
    collect(Outline.parse(done.plan.text()), shards[::-1], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), results)


@pytest.mark.parametrize("what", ["updates", "reconstructions", "shard"])
def test_a_missing_input_is_one_line_that_names_the_file_and_the_command(done, tmp_path, what):
    missing = tmp_path / "missing.safetensors"
    calls = {
        "updates": lambda: write_reconstructions(
            done.plan, done.batch, missing, done["checkpoints"], tmp_path, tmp_path / "out", Session()
        ),
        "reconstructions": lambda: write_scores(done.plan, done.batch, missing, tmp_path / "out", tmp_path / "images"),
        "shard": lambda: collect(Outline.parse(done.plan.text()), [missing], tmp_path / "out"),
    }
    with pytest.raises(UserError) as caught:
        calls[what]()
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert what == "shard" or "run `gradleak" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.parametrize(
    ("what", "damage"), [("updates", "cut"), ("reconstructions", "cut"), ("reconstructions", "other-cells")]
)
def test_a_damaged_input_is_a_user_error(done, tmp_path, what, damage):
    path = tmp_path / f"{what}.safetensors"
    shutil.copy(done[f"{what}.safetensors"], path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        save_file({name.replace(done.cells[0].id, "0" * 16): value for name, value in load_file(path).items()}, path)
    stages = {
        "updates": (write_reconstructions, path, done["checkpoints"], tmp_path, tmp_path / "out", Session()),
        "reconstructions": (write_scores, path, tmp_path / "out", tmp_path / "images"),
    }
    stage, *arguments = stages[what]
    with pytest.raises(UserError, match=what):
        stage(done.plan, done.batch, *arguments)


def test_updates_of_other_cells_are_refused(done, tmp_path):
    path = tmp_path / "updates.safetensors"
    content = load_file(done["updates.safetensors"])
    save_file({name: value for name, value in content.items() if name.startswith(done.cells[0].id)}, path)
    with pytest.raises(UserError, match=f"the update of cell {done.cells[1].id} is missing"):
        write_reconstructions(done.plan, done.batch, path, done["checkpoints"], tmp_path, tmp_path / "out", Session())


def test_a_file_that_is_no_parquet_is_a_user_error(tmp_path):
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=r"a\.parquet: cannot be read as Parquet"):
        read_parquet(tmp_path / "a.parquet")


def test_a_data_set_is_recorded_with_its_fingerprint(done, tmp_path):
    record_dataset(done.plan, "photos10", tmp_path / "data.json")
    content = json.loads((tmp_path / "data.json").read_text())
    assert (content["train"], content["test"], len(content["classes"])) == (2000, 500, 10)
    assert re.fullmatch(r"[0-9a-f]{64}", content["fingerprint"])
    with pytest.raises(UserError, match="data set 'cifar10' is not used by study 'two'"):
        record_dataset(done.plan, "cifar10", tmp_path / "other.json")
    far = done.cells[0].model_copy(update={"victims": (0, 1, 500)})
    plan = replace(done.plan, cells={far.id: far})
    with pytest.raises(UserError, match="victim index 500"):
        record_dataset(plan, "photos10", tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()


def test_a_state_that_belongs_to_another_update_is_not_continued(done, tmp_path, cache):
    place = Place(tmp_path, cache).trained()
    with pytest.raises(Killed):
        place.reconstruct(progress=kill)
    content = load_file(place["updates.safetensors"])
    save_file({n: v.neg() if "/update/" in n else v for n, v in content.items()}, place["updates.safetensors"])
    place.reconstruct()
    place.reconstruct("fresh.safetensors")
    assert place["reconstructions.safetensors"].read_bytes() == place["fresh.safetensors"].read_bytes()


@pytest.mark.parametrize(
    ("factor", "reason"), [(0.0, "the update is zero"), (float("nan"), "the update is not finite")]
)
def test_what_cannot_be_attacked_is_named_and_has_no_metrics(done, tmp_path, cache, results, factor, reason):
    place = Place(tmp_path, cache).trained()
    content, first = load_file(place["updates.safetensors"]), place.cells[0].id
    altered = {name: value * factor if f"{first}/update/" in name else value for name, value in content.items()}
    save_file(altered, place["updates.safetensors"])
    folders = (place["updates.safetensors"], place["checkpoints"], place["auxiliary"])
    found = place["reconstructions.safetensors"]
    lines = write_reconstructions(place.plan, place.batch, *folders, found, Session())
    assert lines == [f"1 of 2 cells of the batch are not attacked and have no metrics: {reason}"]
    write_scores(place.plan, place.batch, found, place["shard.parquet"], place["images.parquet"])
    rows = pd.read_parquet(place["shard.parquet"])
    own = rows["cell_id"] == first
    assert set(rows["unattacked"][own]) == {reason}
    assert rows["unattacked"][~own].isna().all()
    assert rows.loc[own, ["objective", "lpips", "psnr"]].isna().all(axis=None)
    before = results[results["cell_id"] != first]
    assert rows["lpips"][~own].tolist() == pytest.approx(before["lpips"].tolist(), abs=1e-3)
    assert "unattacked" not in results


def test_the_order_of_a_client_that_shuffles_is_seeded_by_the_cell_and_not_as_the_attack(tmp_path, cache):
    first = Place(tmp_path, cache).cells[0]
    model = build_model(first.model, 10, 16, (0.5,) * 3, (0.25,) * 3)
    images, labels = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])

    def shared(seed=0, **options):
        client = ClientSpec(samples=4, batch_size=2, epochs=2, lr=0.5, **options)
        cell = first.model_copy(update={"client": client, "seed": seed})
        content = pack_update(cell, model, images, labels)
        update = {name: content[f"{cell.id}/update/{name}"] for name, _ in model.named_parameters()}
        assert torch.equal(content[f"{cell.id}/labels"], labels)  # in the given order, which is what the server knows
        return torch.cat([value.flatten() for value in update.values()]), client

    found, client = shared(shuffle=True)
    assert torch.equal(found, shared(shuffle=True)[0])
    as_attack = local_update(model, images, labels, client, drawn_order(client, torch.Generator().manual_seed(0)))
    for other in (shared()[0], shared(1, shuffle=True)[0], torch.cat([v.flatten() for v in as_attack.values()])):
        assert not torch.allclose(found, other, rtol=1e-3)


def test_parameters_without_gradient_are_named(tmp_path, cache):
    cell = Place(tmp_path, cache).cells[0].model_copy(update={"client": ClientSpec(samples=3)})
    model = build_model(cell.model, 10, 16, (0.5,) * 3, (0.25,) * 3)
    *body, weight, bias = [name for name, _ in model.named_parameters()]
    model.get_parameter(weight).data.zero_()  # nothing before the head has a gradient
    content = InMemory(pack_update(cell, model, torch.rand(3, 3, 16, 16), torch.tensor([0, 1, 2])))
    facts, *_ = update_facts(cell, content, content)
    assert facts["update_zeros"] == ", ".join(sorted(body))
    assert not content[f"{cell.id}/update/{bias}"].eq(0).all()
