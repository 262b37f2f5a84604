"""The example of docs/extending.md: one file in a copy of the package, and the defense is in `attack` and Figure 11."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/extending.md").read_text(encoding="utf-8").split("## A defense")[1]
CELL = """
dataset: {name: photos10, resolution: 16}
model: {name: convnet, options: {channels: 4, stages: 1, layers: 1}}
post_processing: {name: drop, share: 0.75}
attack: {name: gia-o, descent: {iterations: 5}}
victims: [0]
"""
#: All stages by their commands, in one process: it imports the copy of the package.
STUDY = """
from pathlib import Path

from core_cases import gradleak
from gradleak.plan import Plan
from gradleak.workflow import Workflow


def run(*arguments):
    ran = gradleak(*arguments)
    assert ran.code == 0, ran.err


run("attack", "cell.yaml", "--config", "config.yaml", "--out", "alone")
run("plan", "--config", "config.yaml", "--study", "workflow/studies/mine.yaml", "--out", "plan.json")
plan = Plan.read(Path("plan.json"))
given = ("--plan", "plan.json")
for training in plan.trainings:
    out = ("--checkpoints", "checkpoints", "--out", f"trainings/{training}.parquet")
    run("federate", *given, "--training", training, *out)
for batch in plan.batches:
    assert any(path.endswith("post_processing/drop.py") for path in Workflow(plan).update_code(batch))
    places = ("--batch", batch, "--checkpoints", "checkpoints")
    run("update", *given, *places, "--out", f"updates/{batch}")
    run("reconstruct", *given, *places, "--updates", f"updates/{batch}", "--out", f"reconstructions/{batch}")
    scored = ("--out", f"shards/{batch}", "--images", f"images/{batch}")
    run("score", *given, "--batch", batch, "--reconstructions", f"reconstructions/{batch}", *scored)
run("collect", *given, "--trainings", "trainings", "--out", "results.parquet", *(f"shards/{b}" for b in plan.batches))
run("figures", *given, "--results", "results.parquet", "--out", "figures")
"""


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, flags=re.DOTALL)
    return found


def named(kind):
    (path,) = re.findall(rf"`((?:src|workflow)/[a-z_/]+\.{kind})`", SECTION)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory, cache):
    """A copy of the package with the example's files where the page says, after the study has run."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {
        named("py"): block("python"),
        named("yaml"): block("yaml"),
        "cell.yaml": CELL,
        "config.yaml": yaml.safe_dump({"device": "cpu", "cache": str(cache)}),
        "study.py": STUDY,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert not (folder / name).exists()
        (folder / name).write_text(text)
    paths = os.pathsep.join([str(folder / "src"), str(ROOT / "tests")])
    ran = subprocess.run(
        [sys.executable, "study.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


def test_an_attack_on_one_cell_has_the_defense_in_its_columns(place):
    (row,) = pd.read_parquet(place / "alone/result.parquet").to_dict("records")
    assert (row["post_processing"], row["technique"], row["strength"]) == ("drop", "Dropping", "0.75")
    assert row["post_processing_drop_share"] == 0.75
    assert row["update_bytes"] == 4 * row["model_parameters"]
    assert pd.isna(row["epsilon"])


def test_a_figure_11_shows_it_with_the_accuracy_of_a_training_under_it(place):
    points = pd.read_csv(place / "figures/fig11_tradeoff.csv", keep_default_na=False).set_index("technique")
    assert list(points.index) == ["None", "Quantization", "Dropping"]
    assert points["strength"].tolist() == ["-", "2-bit", "0.5"]
    results = pd.read_parquet(place / "results.parquet").set_index("technique")
    assert results["model_training_post_processing"].tolist() == ["none", "qsgd", "drop"]
    losses = [pd.read_parquet(path)["loss"].iloc[-1] for path in (place / "trainings").glob("*.parquet")]
    assert len(set(losses)) == 3
    assert results["model_accuracy"].min() > 0.3
    for name in ("lpips", "model_accuracy", "update_bytes"):
        for technique, row in points.iterrows():
            assert row[name] == pytest.approx(results.loc[technique, name], rel=1e-4)
    assert points.loc["Dropping", "update_bytes"] == points.loc["None", "update_bytes"]
    assert points.loc["Quantization", "update_bytes"] < points.loc["None", "update_bytes"] / 8
    assert (place / "figures/fig11_tradeoff.png").stat().st_size > 10_000
