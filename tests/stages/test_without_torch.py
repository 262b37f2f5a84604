"""The stages that report run with nothing but what envs/report.yaml installs: no torch, above all."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pandas as pd
import yaml
from report_cases import write_reported

from gradleak.claims.report import FILES as CLAIMS
from gradleak.presentations.base import PRESENTATIONS
from gradleak.presentations.read import read_plan
from gradleak.presentations.write import stage_files
from gradleak.survey.outputs import FILES as SURVEY

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
    {"kind": "curve", "x": "igsa", "colour": "attack", "beside": "theorem42"},
    {"kind": "contrast", "between": {"label": "attack", "baseline": "A", "against": "B"}},
]


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


def test_they_write_everything(tmp_path: Path) -> None:
    write_reported(tmp_path, tmp_path / "ledger.yaml", [{**spec, "suffix": spec["kind"]} for spec in SHOW])
    kinds = {spec["kind"] for spec in SHOW}
    assert kinds == set(PRESENTATIONS.names())
    plan, results, out = "--plan=plan.json", "--results=out/results.parquet", "--out=out"
    joined = ["--smoothness=smoothness", "--trainings=trainings", "--out=out/results.parquet", "shard.parquet"]
    commands = [
        ["collect", plan, *joined],
        ["collect", plan, "--out=out/images.parquet", "images.parquet"],
        ["tables", plan, results, out],
        ["figures", plan, results, "--images=out/images.parquet", out],
        ["claims", plan, results, "--ledger=ledger.yaml", out],
        ["survey", "--out=survey"],
    ]
    blocked = top_levels("report")
    assert {"torch", "torchvision", "lpips", "skimage", "sklearn", "snakemake", "safetensors"} <= blocked
    ran = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([sorted(blocked), commands])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    (experiment,) = read_plan(tmp_path / "plan.json")[1].values()
    expected = [*stage_files("tables", experiment), *stage_files("figures", experiment), *CLAIMS]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*expected, "results.parquet", "images.parquet"}
    assert {path.name for path in (tmp_path / "survey").iterdir()} == set(SURVEY)
    found = pd.read_parquet(tmp_path / "out/results.parquet")
    assert found.loc[found["model_round"] == 2, ["igsa", "model_accuracy"]].drop_duplicates().values.tolist() == [
        [8, 0.7]
    ]
    assert "Distance" in (tmp_path / "out/all_table.tex").read_text()
