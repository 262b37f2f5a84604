"""A tiny run archived: what is in it, figures from it alone, cells computed again, and what is not accepted."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from archive_cases import finished_run
from core_cases import gradleak
from PIL import Image

from gradleak.archive import gallery
from gradleak.archive.provenance import Job, Provenance
from gradleak.archive.read import Archive, Run
from gradleak.archive.verify import check_data, compare, differences, draw, plan_of, recompute
from gradleak.archive.write import write_archive
from gradleak.engine.device import processor
from gradleak.errors import UserError
from gradleak.parquet import write_parquet
from gradleak.pipeline.plan_file import check_folder
from gradleak.presentations.gallery_layout import draw_panels
from gradleak.report.provenance import read_provenance
from gradleak.stages.session import Session
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.outline import Outline
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan
from gradleak.study.reused import MANIFEST

ROOT = Path(__file__).parents[2]
FILES = ["plan.json", "results.parquet", "provenance.json"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    finished_run(folder, cache)
    return folder


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("archives") / "tiny"
    ran = gradleak("archive", run, "--out", out)
    assert ran.code == 0, ran.err
    return out


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


@pytest.fixture
def config(tmp_path, cache):
    path = tmp_path / "config.yaml"
    path.write_text(f"{{cache: {cache}, device: cpu}}")
    return path


def sign(folder):
    """Make the manifest fit what is there."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES]
    (folder / MANIFEST).write_text("".join(lines))


def edit(folder, name, change):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    sign(folder)


def test_an_archive_has_results_and_no_images_and_no_paths(run, made, cache):
    assert sorted(path.name for path in made.iterdir()) == sorted([*FILES, MANIFEST])
    assert (made / "results.parquet").read_bytes() == (run / "results.parquet").read_bytes()
    texts = (made / "plan.json").read_text() + (made / "provenance.json").read_text()
    for private in (str(run), str(cache), os.uname().nodename):
        assert private not in texts
    plan, whole = Plan.read(made / "plan.json"), Plan.read(run / "plan.json")
    assert (plan.cells, plan.batches, plan.experiments) == (whole.cells, whole.batches, whole.experiments)
    found = Archive(made).provenance
    assert (found.cells, found.rows, found.iterations, found.seeds) == (9, 12, {"gia-o": [30]}, [0])
    assert found.data["photos10"].fingerprint == json.loads((run / "data/photos10.json").read_text())["fingerprint"]
    assert list(found.victims[0].images) == [0, 1, 2, 3, 4, 5]
    assert {"model", "vectors", "memory_gib"} == set(found.places("reconstruct", next(iter(plan.batches)))[0].cpu)


def test_a_run_that_is_not_finished_is_not_archived(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    rows = pd.read_parquet(tmp_path / "run/results.parquet")
    write_parquet(rows[rows["cell_id"] != rows["cell_id"].iloc[0]], tmp_path / "run/results.parquet")
    assert (
        "does not hold the cells of plan.json" in gradleak("archive", tmp_path / "run", "--out", tmp_path / "out").err
    )
    shutil.copy(run / "results.parquet", tmp_path / "run")
    next((tmp_path / "run/shards").glob("*.json")).unlink()
    ran = gradleak("archive", tmp_path / "run", "--out", tmp_path / "out")
    assert (ran.code, "run is not finished" in ran.err) == (2, True)
    assert not (tmp_path / "out").exists()
    assert "into another" in gradleak("archive", run, "--out", run).err


@pytest.mark.slow
def test_figures_from_an_archive_alone_twice_the_same_bytes(made, tmp_path):
    def make(out, *options):
        command = ["make", "--old-file=.venv/.ready", f"REFERENCE={made}", f"FIGURES={out}", *options]
        env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        files = {path.name: path.read_bytes() for path in (out / made.name).iterdir()}
        return done.stderr, files

    said, first = make(tmp_path / "first", "figures")
    assert "left out, for they need images.parquet (--images): table1_gallery\n" in said
    assert {"table1.csv", "table1.tex", "fig4b.pdf", "fig4b.png", "claims.md", "published.csv"} <= first.keys()
    assert (tmp_path / "first/survey/table7.csv").exists()
    assert (tmp_path / "first/theory/theorem42_summary.csv").exists()
    # Other tests have theory, survey and claims twice.
    again = make(tmp_path / "second", "tables", "drawings")[1]
    assert len(again) == 6
    assert again.items() <= first.items()


def test_verify_finds_the_same_bits(made, config):
    ran = gradleak("verify", made, "--config", config, "--cells", 1)
    assert ran.code == 0, ran.err
    assert "1 of 9 cells, drawn with seed 0" in ran.out
    assert re.search(r"\n(\d) of \1 cells are identical, all agree\n", ran.out)
    assert ran.out.count("*") == 1


def test_verify_draws_what_it_computed(made, config, tmp_path):
    out = tmp_path / "pictures"
    ran = gradleak("verify", made, "--config", config, "--cells", 2, "--gallery", out)
    assert ran.code == 0, ran.err
    stars = re.findall(r"^ ([0-9a-f]{16})\*", ran.out, re.MULTILINE)
    names = {f"{cell}{ending}" for cell in stars for ending in (".pdf", ".png", ".txt")}
    assert stars
    assert {path.name for path in out.iterdir()} == names
    assert all(f"{out / name}\n" in ran.out for name in names)
    first = {name: (out / name).read_bytes() for name in names}
    gradleak("verify", made, "--config", config, "--cells", 2, "--gallery", out)
    assert first == {name: (out / name).read_bytes() for name in names}
    experiments = json.loads((made / "plan.json").read_text())["experiments"]
    for cell in stars:
        name = next(name for name, own in experiments.items() if cell in {each["cell_id"] for each in own["cells"]})
        text = (out / f"{cell}.txt").read_text()
        assert text.startswith(f"{name}: ")
        assert f"Cell {cell} of study tiny, computed again" in text


def test_pictures_into_a_file_are_refused_before_anything_is_computed(made, config, tmp_path):
    (tmp_path / "pictures").touch()
    ran = gradleak("verify", made, "--config", config, "--gallery", tmp_path / "pictures")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1


def test_a_gallery_has_a_line_for_each_setting_and_the_drawn_cell_first(made):
    archive = Archive(made)
    run = next(run for run in archive.runs if len({cell.client.updates for cell in run.cells}) > 1)
    drawn = run.cells[-1]
    rows = archive.results[archive.results["cell_id"].isin([cell.id for cell in run.cells])].copy()
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    pictures = rows[rows["chosen"]].assign(truth_png=picture.getvalue(), reconstruction_png=picture.getvalue())
    shown = {}

    def draw(panels):
        shown["panel"] = panels[0]
        return draw_panels(panels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "draw_panels", draw)
        files = gallery.run_gallery(archive, run, drawn.id, rows, pictures)
    assert list(files) == [f"{drawn.id}{ending}" for ending in (".pdf", ".png", ".txt")]
    lines = [line for line in shown["panel"].lines if not line.leads]
    steps = list(dict.fromkeys([drawn.client.updates, *(cell.client.updates for cell in run.cells)]))
    assert [line.label for line in lines if f"= {drawn.client.updates}" in line.label] == [lines[0].label]
    assert len(lines) == len(steps)
    own = rows[rows["chosen"] & rows["cell_id"].eq(drawn.id)].sort_values("position")
    scores = [f"{row.lpips:.4f}, {row.psnr:.1f} dB" for row in own.itertuples()]
    assert list(lines[0].below.values())[: len(scores)] == scores
    # A cell that was not attacked has no numbers.
    rows.loc[rows["cell_id"] == drawn.id, "psnr"] = float("nan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "draw_panels", draw)
        gallery.run_gallery(archive, run, drawn.id, rows, pictures)
    assert shown["panel"].lines[1].below[0] == "not attacked"


def test_a_config_that_is_asked_for_and_missing_is_one_line(made, tmp_path):
    ran = gradleak("verify", made, "--config", tmp_path / "nowhere.yaml")
    assert (ran.code, "nowhere.yaml: cannot be read" in ran.err) == (2, True)


def test_a_changed_value_does_not_pass(copy, config):
    rows = pd.read_parquet(copy / "results.parquet")
    write_parquet(rows.assign(psnr=rows["psnr"] + 1e-12), copy / "results.parquet")
    ran = gradleak("verify", copy, "--config", config, "--cells", 1)
    assert "is not the archived file: SHA-256" in ran.err
    assert ran.code == 2
    sign(copy)
    ran = gradleak("verify", copy, "--config", config, "--cells", 1)
    assert ran.code == 1
    assert "cells differ from" in ran.err
    assert "identical" not in ran.out


def test_elsewhere_means_are_compared_within_a_tolerance(copy, config):
    def elsewhere(content):
        content["environments"][1]["cpu"]["model"] = "another"

    edit(copy, "provenance.json", elsewhere)
    rows = pd.read_parquet(copy / "results.parquet")
    write_parquet(rows.assign(psnr=rows["psnr"] + 0.5), copy / "results.parquet")
    sign(copy)
    ran = gradleak("verify", copy, "--config", config, "--cells", 1)
    assert ran.code == 0, ran.err
    assert "not expected to be equal bit for bit: cpu: here" in ran.out
    assert "within tolerance" in ran.out
    write_parquet(rows.assign(lpips=rows["lpips"] + 0.2), copy / "results.parquet")
    sign(copy)
    assert gradleak("verify", copy, "--config", config, "--cells", 1).code == 1


def test_the_tolerance_is_for_means_of_a_cell_and_of_its_run(made):
    rows = Archive(made).results
    rows = rows[rows["client_samples"] == 1]
    assert {each.verdict for each in compare(rows, rows, exact=False)} == {"identical"}
    for add, agree in [(0.03, 6), (0.06, 0)]:  # of six images: 0.1 / sqrt(6) is 0.041
        assert sum(each.agrees for each in compare(rows.assign(lpips=rows["lpips"] + add), rows, exact=False)) == agree
    one = rows["lpips"] + 0.15 * (rows["image"] == 0) * (rows["client_epochs"] == 1)
    found = compare(rows.assign(lpips=one), rows, exact=False)
    assert [each.verdict for each in found].count("differs") == 1
    assert compare(rows, rows.iloc[1:], exact=False)[0].agrees is False


def test_what_decides_rounding_is_compared(made):
    archive = Archive(made)
    same = archive.environments(archive.runs[0])
    assert differences(archive, archive.runs[0], "cpu") == []
    assert len(same) == 1


def test_another_precision_is_refused(made, config):
    config.write_text(config.read_text().replace("}", ", precision: bf16}"))
    ran = gradleak("verify", made, "--config", config)
    line = f"precision is bf16, but the cells in {made} were computed with float32; set precision: float32"
    assert (ran.code, ran.out, ran.err) == (2, "", f"gradleak: {line}\n")


@pytest.mark.parametrize(
    ("changed", "had"),
    [
        ({"precision": "bf16"}, "bf16"),
        ({"precision": None, "tf32": True}, "tf32"),
        ({"precision": None, "tf32": False}, None),
        ({"precision": None}, None),
    ],
)
def test_a_run_whose_jobs_had_another_precision_than_its_plan_is_not_archived(run, tmp_path, changed, had):
    shutil.copytree(run, tmp_path / "run")
    (path,) = (tmp_path / "run/reconstructions").glob("*.provenance.json")
    content = json.loads(path.read_text())
    assert content["settings"]["precision"] == "float32"
    settings = {**content["settings"], **changed}
    content["settings"] = {key: value for key, value in settings.items() if value is not None}
    path.write_text(json.dumps(content))
    ran = gradleak("archive", tmp_path / "run", "--out", tmp_path / "out")
    line = f"gradleak: {path}: was computed with precision: {had}, the plan says float32; run the study again\n"
    assert (ran.code, ran.err) == ((2, line) if had else (0, ""))


@pytest.mark.parametrize(("tf32", "precision"), [(False, "float32"), (True, "tf32")])
def test_an_archive_from_before_there_was_precision_is_read(copy, tf32, precision):
    def before(settings):
        assert settings.pop("precision") == "float32"
        settings["tf32"] = tf32

    edit(copy, "plan.json", lambda content: before(content["config"]))
    edit(copy, "provenance.json", before)
    archive = Archive(copy)
    assert (archive.plan.config.precision, archive.provenance.precision) == (precision, precision)
    assert ("precision", precision) in read_provenance(copy, Outline.read(copy / "plan.json"), []).settings
    ran = gradleak("verify", copy, "--cells", 0)
    assert (ran.code, ran.err) == (0, "")


def test_the_reference_results_are_in_float32():
    archive = Archive(ROOT / "results/reference")
    assert (archive.plan.config.precision, archive.provenance.precision) == ("float32", "float32")


def test_other_pixels_and_data_that_are_not_there_are_one_line(copy, config, tmp_path):
    def other_pixels(content):
        for index in content["victims"][0]["images"]:
            content["victims"][0]["images"][index] = "0" * 16

    edit(copy, "provenance.json", other_pixels)
    ran = gradleak("verify", copy, "--config", config)
    assert ran.code == 2
    assert "not the same pixels" in ran.err
    config.write_text(
        config.read_text().replace("}", f", data: {{photos10: {{source: folder, path: {tmp_path}/no}}}}}}")
    )
    ran = gradleak("verify", copy, "--config", config)
    assert ran.code == 2
    assert "under the key 'data' of" in ran.err
    assert Archive(copy).provenance.data["photos10"].fingerprint in ran.err
    assert ran.err.count("\n") == 1


def test_other_images_behind_a_generator_are_a_reason_not_to_expect_equal_bits(copy, cache):
    config = Config(cache=cache, device="cpu")
    generator = {"name": "dcgan", "dataset": {"name": "photos10", "resolution": 16}}
    cell = Archive(copy).runs[0].cells[0].model_dump(mode="json") | {
        "attack": {"name": "gia-l", "generator": generator},
        "knowledge_level": 3,
    }
    run = Run([Cell.parse(cell, "here")], [], 1.0)
    assert Archive(copy).datasets(run) == {"photos10"}
    assert check_data(Archive(copy), run, config, Path("config.yaml")) == []
    edit(copy, "provenance.json", lambda content: content["data"]["photos10"].update(fingerprint="0" * 64))
    (reason,) = check_data(Archive(copy), run, config, Path("config.yaml"))
    assert reason == "data set 'photos10', which models are trained on, has another checksum"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_provenance_that_does_not_name_the_cpu_gets_it_on_the_same_machine_only(run, tmp_path, elsewhere):
    shutil.copytree(run, tmp_path / "run")
    (path,) = (tmp_path / "run/reconstructions").glob("*.provenance.json")
    content = json.loads(path.read_text())
    del content["cpu"]
    path.write_text(json.dumps(content | ({"host": "elsewhere"} if elsewhere else {})))
    write_archive(tmp_path / "run", tmp_path / "out")
    archive = Archive(tmp_path / "out")
    (place,) = archive.environments(archive.runs[0])
    assert place.cpu == (None if elsewhere else processor())
    assert bool(differences(archive, archive.runs[0], "cpu")) == elsewhere


def test_a_run_counts_the_training_that_it_needs(copy):
    plan = make_plan(load_study(ROOT / "tests/workflow/federated.yaml"), Config(device="cpu"))
    (batch,), (training,) = plan.batches, plan.trainings
    families = {family[0].family: 2.0 for family in plan.families(batch)}
    seconds = {"reconstruct": 9.0, "update": 3.0, "score": 5.0, "federate": 100.0}
    jobs = {
        stage: {
            training if stage == "federate" else batch: Job(environment=1, seconds=took, finished="", families=families)
        }
        for stage, took in seconds.items()
    }
    provenance = Archive(copy).provenance.model_copy(update={"jobs": jobs})
    plan.write(copy / "plan.json")
    (copy / "provenance.json").write_text(provenance.text())
    sign(copy)
    (found,) = Archive(copy).runs
    assert [cell.id for cell in found.cells] == list(plan.cells)  # three checkpoints in one run
    assert found.jobs == [("reconstruct", batch), ("federate", training)]
    assert found.seconds == 3 * 2.0 + 3.0 + 5.0 + 100.0


def test_cells_are_drawn_by_seed_and_cost(made, config):
    archive = Archive(made)
    assert [len(entry.cells) for entry in archive.runs] == [6, 3]
    names = {seed: [cell for cell, _ in draw(archive, 5, seed, 1.0, "cpu")] for seed in range(8)}
    assert all(len(found) == 2 for found in names.values())  # one of each run
    assert len({tuple(found) for found in names.values()}) > 2
    assert [cell for cell, _ in draw(archive, 5, 3, 1.0, "cpu")] == names[3]
    dearest = max(entry.seconds for entry in archive.runs)
    assert len(draw(archive, 5, 0, (dearest + 0.01) / 60, "cpu")) == 1
    ran = gradleak("verify", made, "--config", config, "--minutes", 1e-6)
    assert (ran.code, "no cell can be computed in 1e-06 minutes" in ran.err) == (2, True)
    assert len(draw(archive, 5, 0, 1.0, "cpu", ["photos10", "cifar10"])) == 2
    with pytest.raises(UserError, match="only data sets cifar10; the archive's are photos10"):
        draw(archive, 5, 0, 1.0, "cpu", ["cifar10"])


def test_a_cell_without_its_run_is_near_what_it_is_with_it(made, cache, tmp_path):
    archive = Archive(made)
    cells = archive.runs[1].cells
    config = Config(cache=cache, device="cpu")
    alone = recompute(plan_of(cells[:1], config), tmp_path, Session())
    rows = archive.results[archive.results["cell_id"] == cells[0].id]
    assert abs(alone["lpips"].mean() - rows["lpips"].mean()) < 0.05


def test_a_run_does_not_overwrite_an_archive(made):
    plan = Plan.read(made / "plan.json")
    before = (made / "plan.json").read_bytes()
    with pytest.raises(UserError, match="which a run of study 'tiny' would overwrite; give the run another name"):
        check_folder(plan, made)
    assert (made / "plan.json").read_bytes() == before


@pytest.mark.parametrize("command", [("verify",), ("verify", "--cells", 0)])
def test_a_folder_without_an_archive_is_one_line(command, tmp_path):
    ran = gradleak(command[0], tmp_path, *command[1:])
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "holds no archived results" in ran.err


def test_stages_under_former_names_are_read_and_unknown_ones_refused(tmp_path):
    content = json.loads((ROOT / "results/reference/provenance.json").read_text())
    path = tmp_path / "provenance.json"
    former = {"reconstruct": "attack", "smoothness": "measure", "federate": "train"}
    path.write_text(
        json.dumps(content | {"jobs": {former.get(name, name): jobs for name, jobs in content["jobs"].items()}})
    )
    assert Provenance.read(path) == Provenance.read(ROOT / "results/reference/provenance.json")
    path.write_text(json.dumps(content | {"jobs": {"paint": {}}}))
    with pytest.raises(UserError, match=r"unknown stage 'paint'; known: federate, "):
        Provenance.read(path)
