"""The examples of docs/extending.md: each one file in a copy of the package, all in one study's tables and figures."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
#: Path and content of every file on the page: a code block below a line that names its path and ends with a colon.
BLOCK = r"`((?:src|workflow)/[a-z_/]+\.(?:py|yaml))`[^\n]*:\n\n```(?:python|yaml)\n(.*?)```"
FILES = dict(re.findall(BLOCK, PAGE, re.DOTALL))
STUDY = "workflow/studies/mine.yaml"
FOLDERS = ("priors", "objectives", "attacks", "models", "post_processing", "data", "metrics", "presentations")
CELL = """
dataset: {name: photos10, resolution: 16}
model: {name: convnet, options: {channels: 4, stages: 1, layers: 1}}
post_processing: {name: drop, share: 0.75}
attack: {name: gia-o, descent: {iterations: 5}}
victims: [0]
"""
#: All stages by their commands, in one process: it imports the copy of the package.
RUN = """
import json
from pathlib import Path

from core_cases import gradleak
from gradleak.study.plan import Plan
from gradleak.workflow import Workflow


def run(*arguments):
    ran = gradleak(*arguments)
    assert ran.code == 0, ran.err
    return ran.out


run("attack", "cell.yaml", "--config", "config.yaml", "--out", "alone")
Path("listed.txt").write_text(run("data", "list"))
run("plan", "--config", "config.yaml", "--study", "workflow/studies/mine.yaml", "--out", "plan.json")
plan = Plan.read(Path("plan.json"))
given = ("--plan", "plan.json")
for name in {cell.dataset.name for cell in plan.cells.values()}:
    run("data", "record", name, *given, "--out", f"data/{name}.json")
for training in plan.trainings:
    out = ("--checkpoints", "checkpoints", "--out", f"trainings/{training}.parquet")
    run("federate", *given, "--training", training, *out)
workflow = Workflow(plan)
code = {"score": workflow.score_code(), "tables": workflow.table_code(), "figures": workflow.figure_code()}
for batch in plan.batches:
    cells = plan.batch_cells(batch)
    name = f"{cells[0].model.name} {cells[0].attack.name}"
    for stage, files in (("update", workflow.update_code(batch)), ("attack", workflow.reconstruct_code(batch))):
        code[f"{stage} {name}"] = sorted({*code.get(f"{stage} {name}", []), *files})
    places = ("--batch", batch, "--checkpoints", "checkpoints")
    run("update", *given, *places, "--out", f"updates/{batch}")
    run("reconstruct", *given, *places, "--updates", f"updates/{batch}", "--out", f"reconstructions/{batch}")
    scored = ("--out", f"shards/{batch}", "--images", f"images/{batch}")
    run("score", *given, "--batch", batch, "--reconstructions", f"reconstructions/{batch}", *scored)
run("collect", *given, "--trainings", "trainings", "--out", "results.parquet", *(f"shards/{b}" for b in plan.batches))
run("collect", *given, "--out", "images.parquet", *(f"images/{b}" for b in plan.batches))
run("tables", *given, "--results", "results.parquet", "--out", "shown")
run("figures", *given, "--results", "results.parquet", "--images", "images.parquet", "--out", "shown")
Path("code.json").write_text(json.dumps(code))
"""
MLP = {*(f"{stage} mlp {attack}" for stage in ("update", "attack") for attack in ("gia-o", "first-layer"))}
#: The jobs that run each file; no other has it among its inputs.
USED = {
    "priors/darkness.py": {"attack mlp gia-o"},
    "objectives/relative.py": {"attack mlp gia-o"},
    "attacks/first_layer.py": {"attack mlp first-layer"},
    "models/mlp.py": MLP,
    "post_processing/drop.py": {"update convnet gia-o", "attack convnet gia-o"},
    "data/stripes.py": MLP,
    "metrics/mae.py": {"score"},
    "presentations/scatter.py": {"figures"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, cache):
    """A copy of the package with the page's files where it says, after its study has run."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {
        **FILES,
        "cell.yaml": CELL,
        "config.yaml": yaml.safe_dump({"device": "cpu", "cache": str(cache)}),
        "run.py": RUN,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert not (folder / name).exists()
        (folder / name).write_text(text)
    paths = os.pathsep.join([str(folder / "src"), str(ROOT / "tests")])
    ran = subprocess.run(
        [sys.executable, "run.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


def rows(place, experiment):
    """The rows of an experiment's cells, and the labels of these, in the plan's order."""
    plan = json.loads((place / "plan.json").read_text())
    cells = plan["experiments"][experiment]["cells"]
    results = pd.read_parquet(place / "results.parquet").set_index("cell_id", drop=False)
    return results.loc[[cell["cell_id"] for cell in cells]], [cell["labels"] for cell in cells]


@pytest.fixture(scope="module")
def own(place):
    """The rows of the experiment `own`, by its label `attack`."""
    results, labels = rows(place, "own")
    return results.set_index(pd.Index([own["attack"] for own in labels]))


def pictures(place, cell):
    images = pd.read_parquet(place / "images.parquet").set_index("cell_id")
    pair = images.loc[cell, ["truth_png", "reconstruction_png"]]
    return [np.asarray(Image.open(io.BytesIO(png)), dtype=float) / 255 for png in pair]


def test_the_page_has_one_file_of_each_kind_and_the_study():
    assert sorted(FILES) == sorted([*(f"src/gradleak/{name}" for name in USED), STUDY])
    assert sorted(name.split("/")[0] for name in USED) == sorted(FOLDERS)


def test_the_files_are_as_the_packages_own_are(place):
    files = [str(place / name) for name in FILES if name.endswith(".py")]
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        ruff = [shutil.which("ruff"), *command, "--config", str(ROOT / "pyproject.toml"), *files]
        ran = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("name", USED)
def test_a_file_is_an_input_of_the_jobs_that_run_it_and_of_no_other(place, name):
    code = json.loads((place / "code.json").read_text())
    assert {job for job, files in code.items() if f"src/gradleak/{name}" in files} == USED[name]


def test_the_prior_makes_reconstructions_darker(place, own):
    assert own.loc["GIA-O dark", "attack_priors_darkness"] == 3
    plain, dark = (pictures(place, own.loc[name, "cell_id"])[1].mean() for name in ("GIA-O", "GIA-O dark"))
    assert dark < plain - 0.05


def test_the_objective_is_relative(own):
    assert own.loc[["GIA-O", "GIA-O dark"], "attack_objective"].tolist() == ["relative"] * 2
    assert 0 < own.loc["GIA-O", "objective"] < 1  # 1 where the candidate's gradient is zero


def test_the_attack_is_in_the_table_with_its_level_and_finds_the_image(place, own):
    assert own.loc["First layer", "attack_name"] == "first-layer"
    assert own.loc["First layer", "mse"] < 1e-8 < own.loc["GIA-O", "mse"]
    truth, found = pictures(place, own.loc["First layer", "cell_id"])
    assert np.abs(truth - found).max() < 0.01
    table = pd.read_csv(place / "shown/own.csv")
    assert dict(zip(table["attack"], table["attack_level"], strict=True)) == {
        "GIA-O": 0,
        "GIA-O dark": 1,
        "First layer": 0,
    }
    assert "First layer & 0" in (place / "shown/own.tex").read_text()


def test_the_model_is_a_column_of_the_table(place, own):
    assert own["model_parameters"].tolist() == [(3 * 16**2 + 1) * 32 + (32 + 1) * 10] * 3
    assert set(pd.read_csv(place / "shown/own.csv")["column"]) == {"mlp"}


def test_the_data_set_is_recorded_and_its_images_are_attacked(place, own):
    assert set(own["dataset_name"]) == {"stripes"}
    assert re.search(r"stripes +10 +32 +embedded", (place / "listed.txt").read_text())
    assert json.loads((place / "data/stripes.json").read_text())["name"] == "stripes"
    truth, _ = pictures(place, own.loc["GIA-O", "cell_id"])
    red, green, _ = truth.reshape(-1, 3).T  # one wave in each channel
    assert np.corrcoef(red, green)[0, 1] > 0.99


def test_the_metric_is_in_results_tables_and_figures_under_its_label(place, own):
    table = pd.read_csv(place / "shown/own.csv").set_index(["attack", "metric"])["value"]
    bars = pd.read_csv(place / "shown/own_bars.csv").set_index("attack")
    for name, row in own.iterrows():
        assert table[name, "mae"] == pytest.approx(row["mae"], abs=1e-6)
        assert bars.loc[name, "value"] == pytest.approx(row["mae"], abs=1e-6)
        truth, found = pictures(place, row["cell_id"])
        assert row["mae"] == pytest.approx(np.abs(truth - found).mean(), abs=0.01)
    tex = (place / "shown/own.tex").read_text()
    assert "MAE $\\downarrow$" in tex
    assert f"& {own.loc['GIA-O', 'mae']:.3f}" in tex
    assert "mae" in pd.read_parquet(place / "alone/result.parquet").columns


def test_the_figures_show_them(place):
    for name in ("own_bars", "own_gallery", "fig11_tradeoff", "metrics_scatter"):
        assert (place / f"shown/{name}.png").stat().st_size > 5_000


def test_the_figure_has_a_point_per_trial_in_picture_numbers_and_caption(place):
    results, _ = rows(place, "metrics")
    points = pd.read_csv(place / "shown/metrics_scatter.csv")
    assert list(points) == ["attack_descent_iterations", "mae", "lpips"]
    assert points.to_numpy() == pytest.approx(results[list(points)].to_numpy(), abs=1e-6)
    assert points.groupby("attack_descent_iterations").size().to_dict() == {10: 16, 30: 16, 100: 16}
    means = points.groupby("attack_descent_iterations").mean()
    assert (means.loc[100] < means.loc[30]).all()
    assert (means.loc[30] < means.loc[10]).all()
    assert (place / "shown/metrics_scatter.txt").read_text() == (
        "Two metrics of the same reconstructions. Every point is one of 48 trials. All values come from study mine.\n"
    )
    with Image.open(place / "shown/metrics_scatter.png") as picture:
        assert picture.size == (round(300 * 3.35), round(300 * 2.3))
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**16)}
    assert {(0, 114, 178), (230, 159, 0), (0, 158, 115)} <= colours  # one for each number of iterations
    assert (place / "shown/metrics_scatter.pdf").read_bytes().startswith(b"%PDF")


def test_an_attack_on_one_cell_has_the_defense_in_its_columns(place):
    (row,) = pd.read_parquet(place / "alone/result.parquet").to_dict("records")
    assert (row["post_processing"], row["technique"], row["strength"]) == ("drop", "Dropping", "0.75")
    assert row["post_processing_drop_share"] == 0.75
    assert row["update_bytes"] == 4 * row["model_parameters"]
    assert pd.isna(row["epsilon"])


def test_figure_11_shows_the_defense_with_the_accuracy_of_a_training_under_it(place):
    points = pd.read_csv(place / "shown/fig11_tradeoff.csv", keep_default_na=False).set_index("technique")
    assert list(points.index) == ["None", "Quantization", "Dropping"]
    assert points["strength"].tolist() == ["-", "2-bit", "0.5"]
    results = rows(place, "fig11")[0].set_index("technique")
    assert results["model_training_post_processing"].tolist() == ["none", "qsgd", "drop"]
    losses = [pd.read_parquet(path)["loss"].iloc[-1] for path in (place / "trainings").glob("*.parquet")]
    assert len(set(losses)) == 3
    assert results["model_accuracy"].min() > 0.3
    for name in ("lpips", "model_accuracy", "update_bytes"):
        for technique, row in points.iterrows():
            assert row[name] == pytest.approx(results.loc[technique, name], rel=1e-4)
    assert points.loc["Dropping", "update_bytes"] == points.loc["None", "update_bytes"]
    assert points.loc["Quantization", "update_bytes"] < points.loc["None", "update_bytes"] / 8
