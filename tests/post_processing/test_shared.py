"""What a client shares after post-processing: seeded by the cell, told to whom may know, measured in the results."""

import json

import pytest
import torch
from core_cases import run_alone
from safetensors import safe_open

from gradleak.data.opening import open_dataset
from gradleak.models.base import build_model
from gradleak.parquet import read_parquet
from gradleak.post_processing.privacy import DELTA, local_epsilon
from gradleak.stages.collect import collect
from gradleak.stages.common import global_model
from gradleak.stages.reconstruct import write_reconstructions
from gradleak.stages.score import write_scores
from gradleak.stages.session import Session
from gradleak.stages.update import InMemory, pack_update, read_updates, unpack_update, write_updates
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.outline import Outline
from gradleak.study.planning import make_plan

CLIP, NOISE = {"name": "clip", "bound": 0.5}, {"name": "noise", "multiplier": 0.2}
MODEL = {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1, "norm": True}}
BASE = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": MODEL,
    "attack": {"name": "gia-o", "descent": {"iterations": 3}},
    "victims": [0],
}


def cell_of(post_processing, **changes):
    return Cell.parse(BASE | {"post_processing": post_processing} | changes, "here")


def share(cell):
    """The tensors that a cell's client shares, and its model."""
    data = open_dataset("photos10", 16, {})
    model = build_model(cell.model, 10, 16, data.mean, data.std).eval()
    return InMemory(pack_update(cell, model, data.images("test", [0]), data.labels("test", [0]))), model


def vector(cell):
    content, _ = share(cell)
    return torch.cat([value.flatten() for name, value in content.items() if "/update/" in name])


def test_the_update_is_what_the_defenses_make_of_the_plain_one():
    plain, clipped = vector(cell_of("none")), vector(cell_of(CLIP))
    assert plain.norm() > 0.5
    assert torch.allclose(clipped, plain * 0.5 / plain.norm(), rtol=1e-5)
    noise = vector(cell_of([CLIP, NOISE])) - clipped
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    sparse = vector(cell_of({"name": "top_k", "ratio": 0.75}))
    assert (sparse != 0).sum() == len(plain) - round(0.75 * len(plain))
    assert torch.equal(sparse[sparse != 0], plain[sparse != 0])


def test_draws_are_seeded_by_the_cell_and_are_not_those_of_the_attack():
    assert torch.equal(vector(cell_of(NOISE)), vector(cell_of(NOISE)))
    assert not torch.equal(vector(cell_of(NOISE)), vector(cell_of(NOISE, seed=1)))
    noise = vector(cell_of(NOISE)) - vector(cell_of("none"))
    cell = cell_of(NOISE)
    start = torch.randn(len(noise), generator=torch.Generator().manual_seed(int(cell.id, 16) % 2**63))
    assert torch.corrcoef(torch.stack([noise, start]))[0, 1].abs() < 0.1


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("post_processing", ["none", [CLIP, NOISE]])
def test_the_adversary_is_told_from_level_3_on(level, post_processing):
    cell = cell_of(post_processing, knowledge_level=level)
    content, model = share(cell)
    seen = unpack_update(cell, content, set(content), model)
    assert seen.post_processing == (cell.post_processing if level >= 3 else None)


@pytest.fixture(scope="module")
def place(tmp_path_factory, cache):
    """A study of one family with a cell per defense, through all stages."""
    folder = tmp_path_factory.mktemp("shared")
    axis = ["none", {"name": "qsgd", "bits": 1}, {"name": "top_k", "ratio": 0.9}, [CLIP, NOISE]]
    content = {key: value for key, value in BASE.items() if key != "victims"}
    experiment = {"title": "One", "paper": "None", "show": [], "cells": [{"axes": [{"post_processing": axis}]}]}
    study = {"title": "Defenses", "defaults": content, "experiments": {"one": experiment}}
    (folder / "study.yaml").write_text(json.dumps(study))
    config = Config.parse({"device": "cpu", "cache": str(cache)}, "here")
    plan = make_plan(load_study(folder / "study.yaml"), config)
    (batch,) = plan.batches
    cells = plan.batch_cells(batch)
    write_updates(plan, batch, folder, folder / "updates")
    write_reconstructions(plan, batch, folder / "updates", folder, folder, folder / "reconstructions", Session())
    write_scores(plan, batch, folder / "reconstructions", folder / "shard", folder / "images")
    collect(Outline.parse(plan.text()), [folder / "shard"], folder / "results.parquet")
    return folder, plan, cells


def test_defenses_that_the_adversary_does_not_know_are_trials_of_one_run(place):
    _, plan, cells = place
    (batch,) = plan.batches
    assert [len(family) for family in plan.families(batch)] == [4] == [len(cells)]


def test_bytes_and_epsilon_are_columns(place):
    folder, _, cells = place
    rows = read_parquet(folder / "results.parquet").set_index("cell_id").loc[[cell.id for cell in cells]]
    numbers = rows["model_parameters"].iloc[0]
    plain, quantized, sparse, private = rows["update_bytes"]
    assert plain == private == 4 * numbers
    assert quantized < plain / 16  # at most two bits a number, and a scale per 512
    kept = numbers - round(0.9 * numbers)
    share = kept / numbers
    entropy = -share * torch.tensor(share).log2() - (1 - share) * torch.tensor(1 - share).log2()
    assert sparse == pytest.approx(4 * kept + float(entropy) * numbers / 8, abs=1.5)
    assert rows["epsilon"].iloc[:3].isna().all()
    assert rows["epsilon"].iloc[3] == local_epsilon(cells[3].post_processing)
    assert rows["epsilon_delta"].iloc[3] == DELTA
    assert rows["technique"].tolist() == ["None", "Quantization", "Sparsification", "Clipping + Perturbation"]
    assert rows["strength"].tolist() == ["-", "1-bit", "0.9", "0.5 + 0.2"]
    assert rows["post_processing_top_k_ratio"].iloc[2] == 0.9


def test_an_updates_file_says_what_was_applied(place):
    folder, plan, cells = place
    with safe_open(folder / "updates", framework="pt") as stream:
        applied = json.loads(stream.metadata()["post_processing"])
    assert applied == {cell.id: cell.model_dump(mode="json")["post_processing"] for cell in cells}
    assert applied[cells[0].id] == "none"
    model = global_model(cells[0], plan.config, folder)
    for cell, shared in zip(cells, read_updates(folder / "updates", cells, model), strict=True):
        assert torch.equal(torch.cat([value.flatten() for value in shared.update.values()]), vector(cell))


def test_one_cell_alone_has_the_same_columns(place, cache, tmp_path):
    folder, _, cells = place
    alone = run_alone(cells[3], cache, tmp_path)
    rows = read_parquet(folder / "results.parquet")
    row = rows[rows["cell_id"] == cells[3].id].iloc[0]
    for name in ("update_bytes", "epsilon", "epsilon_delta", "technique", "strength", "post_processing"):
        assert alone[name].iloc[0] == row[name], name
