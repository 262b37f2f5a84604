"""The stages that report run with nothing but what envs/report.yaml installs: no torch, above all."""

import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from gradleak.claims.write import FILES as CLAIMS
from gradleak.survey.outputs import FILES as SURVEY
from gradleak.tables.plan import read_plan
from gradleak.tables.present import stage_files
from gradleak.tables.spec import PRESENTATIONS

ROOT = Path(__file__).parents[2]
#: Runs commands in one process that imports nothing of the modules named first.
RUN = """
import json, sys
blocked, commands = json.loads(sys.argv[1])


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not in the environment")


sys.meta_path.insert(0, Blocked())
from gradleak.cli import cli

for command in commands:
    cli.main(command, standalone_mode=False)
"""
SHOW = [
    {"kind": "table", "rows": ["attack"], "columns": "model_round", "values": ["lpips", "brr", "wsrr"]},
    {"kind": "line", "x": "model_round", "hue": "attack"},
    {"kind": "bars", "x": "attack", "y": "psnr"},
    {"kind": "gallery", "columns": "model_round", "rows": ["attack"]},
    {"kind": "rounds", "panel": "attack", "window": 1},
    {"kind": "tradeoff", "panels": "attack"},
    {"kind": "correlation", "over": "model_round", "rows": ["attack"], "x": "igsa", "y": "lpips"},
    {"kind": "contrast", "between": {"label": "attack", "baseline": "A", "against": "B"}},
]
CLAIM = """
claims:
  - id: later-worse
    text: Later rounds leak less.
    where: here
    statistic: {kind: trend, experiment: all, over: model_round}
    claimed: above
"""


def top_levels(stage: str) -> set[str]:
    """Modules of what is installed here and not in the environment of a stage."""
    dependencies = yaml.safe_load((ROOT / f"envs/{stage}.yaml").read_text())["dependencies"]
    names = {re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in dependencies[-1]["pip"]}
    installed = packages_distributions()
    return {
        module
        for module, owners in installed.items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & {*names, "gradleak", "pip", "setuptools"}
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's files up to the shards, of two attacks in three rounds on five victims each."""
    folder = tmp_path_factory.mktemp("report")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 0)).save(picture, "PNG")
    png = picture.getvalue()
    cells, labels, rows, images, igsa = {}, [], [], [], []
    for attack in "AB":
        for number in range(3):
            for trial in range(5):
                name = f"{attack}{number}{trial}"
                cells[name] = {"smoothness": {"method": "forward"}}
                labels.append({"cell_id": name, "labels": {"attack": attack}})
                key = {"cell_id": name, "image": trial, "position": 0, "lpips": 0.1 * number + 0.01 * trial}
                fixed = {"restart": 0, "chosen": True, "model_round": number, "client_samples": 1, "iterations": 9}
                said = {"technique": "None", "strength": "-", "psnr": 20.0 - number, "dataset_name": "photos10"}
                rows.append(key | fixed | said)
                images.append(key | {"label": 0, "truth_png": png, "reconstruction_png": png})
                igsa.append({"cell_id": name, "igsa": float(10 - number)})
    show = [{**spec, "suffix": spec["kind"]} for spec in SHOW]
    plan = {
        "study": "small",
        "title": "Small",
        "experiments": {"all": {"title": "All", "paper": "-", "show": show, "cells": labels}},
        "cells": cells,
        "batches": {"b": {"cells": list(cells)}},
        "trainings": {"t": []},
        "accuracies": {name: ["t", int(name[1])] for name in cells},
        "columns": {"lpips": {"label": "Distance", "better": "lower", "digits": 2}},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "ledger.yaml").write_text(CLAIM)
    for name, content in {
        "shard": rows,
        "pictures": images,
        "smoothness/b": igsa,
        "trainings/t": [{"round": number, "accuracy": 0.5 + 0.1 * number} for number in range(3)],
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        pd.DataFrame(content).to_parquet(folder / f"{name}.parquet")
    return folder


def test_they_write_everything(place: Path) -> None:
    kinds = {spec["kind"] for spec in SHOW}
    assert kinds == set(PRESENTATIONS.names())
    plan, results, out = "--plan=plan.json", "--results=results.parquet", "--out=out"
    joined = ["--smoothness=smoothness", "--trainings=trainings", "--out=results.parquet", "shard.parquet"]
    commands = [
        ["collect", plan, *joined],
        ["collect", plan, "--out=images.parquet", "pictures.parquet"],
        ["tables", plan, results, out],
        ["figures", plan, results, "--images=images.parquet", out],
        ["claims", plan, results, "--ledger=ledger.yaml", out],
        ["survey", "--out=survey"],
    ]
    blocked = top_levels("report")
    assert {"torch", "torchvision", "lpips", "skimage", "sklearn", "snakemake", "safetensors"} <= blocked
    ran = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([sorted(blocked), commands])],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    (experiment,) = read_plan(place / "plan.json")[1].values()
    expected = [*stage_files("tables", experiment), *stage_files("figures", experiment), *CLAIMS]
    assert {path.name for path in (place / "out").iterdir()} == set(expected)
    assert {path.name for path in (place / "survey").iterdir()} == set(SURVEY)
    found = pd.read_parquet(place / "results.parquet")
    assert found.loc[found["model_round"] == 2, ["igsa", "model_accuracy"]].drop_duplicates().values.tolist() == [
        [8, 0.7]
    ]
    assert "Distance" in (place / "out/all_table.tex").read_text()
