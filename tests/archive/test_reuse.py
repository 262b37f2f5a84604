"""Cells taken over from archives: what is planned, joined, refused, drawn, and archived again."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from archive_cases import ARCHIVED, STUDY, finished_run, planned
from core_cases import gradleak
from rich.console import Console

from gradleak.archive.provenance import Environment, Job, Provenance, sum_up
from gradleak.archive.read import Archive
from gradleak.archive.reuse import open_archives
from gradleak.archive.verify import draw
from gradleak.archive.victims import Victims, join_victims
from gradleak.archive.write import join_archives, write_archive
from gradleak.errors import UserError
from gradleak.files import sha256
from gradleak.parquet import write_parquet
from gradleak.pipeline.jobs import gpu_jobs, plan_summary
from gradleak.pipeline.plan_file import check_folder
from gradleak.planned import plan_run
from gradleak.presentations.read import read_plan
from gradleak.report.graph import rules_of
from gradleak.report.provenance import read_provenance
from gradleak.stages.collect import collect
from gradleak.stages.data import record_dataset
from gradleak.study.config import Config
from gradleak.study.expand import Experiment, Study, load_study
from gradleak.study.outline import Outline
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan
from gradleak.study.reused import MANIFEST, check_fingerprint, manifest_text
from gradleak.workflow import Workflow

ROOT = Path(__file__).parents[2]
#: A trial more, an attack more with a gallery, and a gallery of nothing but what was there.
GROWN = (
    STUDY.replace("count: 3", "count: 4").replace(
        "      - {kind: line", "      - {kind: gallery, columns: client_samples, rows: [variant]}\n      - {kind: line"
    )
    + """
  own:
    title: Another attack
    paper: none
    cells:
      - {labels: {variant: E}, set: {attack.objective: euclidean}}
    show:
      - {kind: gallery, columns: variant}
"""
    + ARCHIVED.removeprefix("\n")
)
#: Without the cells of two epochs, which were attacked together with those of one.
PART = GROWN.replace("client.epochs: [1, 2]", "client.epochs: [1]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    """`first`, a run, `old`, its archive; `run` reuses it, `made` is the archive of that; `part`, `partial`: PART's."""
    folder = tmp_path_factory.mktemp("reuse")
    finished_run(folder / "first", cache)
    write_archive(folder / "first", folder / "old")
    finished_run(folder / "run", cache, GROWN, reuse=str(folder / "old"))
    write_archive(folder / "run", folder / "made")
    finished_run(folder / "part", cache, PART, reuse=[str(folder / "old")])
    write_archive(folder / "part", folder / "partial")
    return folder


def sign(archive: Path) -> None:
    """Make the manifest fit what is there."""
    names = ("plan.json", "results.parquet", "provenance.json")
    (archive / MANIFEST).write_text(manifest_text({name: (archive / name).read_bytes() for name in names}))


def test_only_what_an_archive_lacks_is_planned(folder):
    first, plan = Plan.read(folder / "first/plan.json"), Plan.read(folder / "run/plan.json")
    assert first.cells.keys() < plan.cells.keys()
    assert len(plan.cells) == 16
    assert list(plan.computed) == [cell for cell in plan.cells if cell not in first.cells]
    assert sorted(cell for batch in plan.batches.values() for cell in batch.cells) == sorted(plan.computed)
    (entry,) = plan.reused
    assert (entry.archive, entry.sha256) == (str(folder / "old"), sha256(folder / "old" / MANIFEST))
    assert list(entry.cells) == [cell for cell in plan.cells if cell in first.cells]
    # What is left is packed as if the study had nothing else.
    alone = Study("alone", "", {"all": Experiment("", "", [], [(cell, {}) for cell in plan.computed.values()])})
    assert make_plan(alone, plan.config).batches == plan.batches
    assert json.loads((folder / "run/plan.json").read_text())["config"]["reuse"] == [str(folder / "old")]
    first_text = json.loads((folder / "first/plan.json").read_text())
    assert "reused" not in first_text
    assert "reuse" not in first_text["config"]


def test_what_is_reused_costs_nothing_and_is_counted(folder):
    plan = Plan.read(folder / "run/plan.json")
    out = Console(record=True, width=300, file=io.StringIO())
    out.print(plan_summary(plan))
    text = out.export_text()
    assert f"9 of 16 cells come from {folder / 'old'}" in text
    assert "to compute: 7 cells (7 trials in 3 families)" in text
    (job,) = gpu_jobs(plan)
    assert job.id == next(iter(plan.batches))
    whole = planned(folder / "whole", plan.config.cache, GROWN, reuse=[str(folder / "made")])
    assert (whole.batches, whole.checkpoints, gpu_jobs(whole)) == ({}, {}, [])


def test_cells_come_from_the_first_archive_that_has_them(folder, cache):
    plan = planned(folder / "order", cache, GROWN, reuse=[str(folder / "old"), str(folder / "made")])
    assert [(Path(entry.archive).name, len(entry.cells)) for entry in plan.reused] == [("old", 9), ("made", 7)]
    plan = planned(folder / "reverse", cache, GROWN, reuse=[str(folder / "made"), str(folder / "old")])
    assert [(Path(entry.archive).name, len(entry.cells)) for entry in plan.reused] == [("made", 16)]


def test_rows_of_reused_cells_are_the_archives(folder):
    plan = Plan.read(folder / "run/plan.json")
    rows, archived = (pd.read_parquet(folder / name / "results.parquet") for name in ("run", "old"))
    assert list(dict.fromkeys(rows["cell_id"])) == list(plan.cells)
    old = rows[rows["cell_id"].isin(archived["cell_id"])].set_index("cell_id").loc[archived["cell_id"].unique()]
    pd.testing.assert_frame_equal(old.reset_index(), archived)
    (batch,) = plan.batches
    shard = pd.read_parquet(folder / "run/shards" / f"{batch}.parquet")
    new = rows[rows["cell_id"].isin(plan.computed)].set_index("cell_id").loc[shard["cell_id"].unique()]
    pd.testing.assert_frame_equal(new.reset_index()[shard.columns], shard)
    pictures = pd.read_parquet(folder / "run/images.parquet")
    assert set(pictures["cell_id"]) == plan.computed.keys()


def test_measured_columns_of_both_are_kept(folder, tmp_path):
    archive = shutil.copytree(folder / "old", tmp_path / "old")
    rows = pd.read_parquet(archive / "results.parquet")
    write_parquet(rows.assign(model_accuracy=0.5, igsa=2.0), archive / "results.parquet")
    sign(archive)
    content = json.loads((folder / "run/plan.json").read_text())
    content["reused"][0] |= {"archive": str(archive), "sha256": sha256(archive / MANIFEST)}
    shards = list((folder / "run/shards").glob("*.parquet"))
    collect(Outline.parse(json.dumps(content)), shards, tmp_path / "out.parquet", archives=[archive])
    found = pd.read_parquet(tmp_path / "out.parquet").drop_duplicates("cell_id").set_index("cell_id")
    taken = found.index.isin(content["reused"][0]["cells"])
    assert found.loc[taken, ["model_accuracy", "igsa"]].drop_duplicates().values.tolist() == [[0.5, 2.0]]
    # All cells attack one checkpoint, of round 0: what the archive knows of it holds for the new ones too.
    assert found.loc[~taken, "model_accuracy"].tolist() == [0.5] * 7
    assert found.loc[~taken, "igsa"].isna().all()
    content["accuracies_before"] = {}
    collect(Outline.parse(json.dumps(content)), shards, tmp_path / "out.parquet", archives=[archive])
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found.loc[found["model_accuracy"].isna(), "cell_id"].nunique() == 7
    # A column of numbers that the archive has as text.
    write_parquet(rows.assign(model_parameters="much"), archive / "results.parquet")
    sign(archive)
    content["reused"][0]["sha256"] = sha256(archive / MANIFEST)
    with pytest.raises(UserError, match=r"out\.parquet: the columns of shards and archives do not fit together"):
        collect(Outline.parse(json.dumps(content)), shards, tmp_path / "out.parquet", archives=[archive])


def test_an_archive_that_changed_since_is_refused(folder, tmp_path):
    run, archive = shutil.copytree(folder / "run", tmp_path / "run"), shutil.copytree(folder / "old", tmp_path / "old")
    content = json.loads((run / "plan.json").read_text())
    content["reused"][0]["archive"] = str(archive)
    (run / "plan.json").write_text(json.dumps(content))
    write_archive(run, tmp_path / "before")
    rows = pd.read_parquet(archive / "results.parquet")
    write_parquet(rows.assign(psnr=rows["psnr"] + 1), archive / "results.parquet")
    sign(archive)
    shards = list((run / "shards").glob("*.parquet"))
    with pytest.raises(UserError, match="is another archive than the one that was planned with"):
        collect(Outline.read(run / "plan.json"), shards, tmp_path / "out.parquet", archives=[archive])
    with pytest.raises(UserError, match="is another archive than the one that was planned with"):
        write_archive(run, tmp_path / "out")
    with pytest.raises(UserError, match=r"the plan takes 9 cells from .*old \(--archive\)"):
        collect(Outline.read(run / "plan.json"), shards, tmp_path / "out.parquet", archives=[folder])
    with pytest.raises(UserError, match="no shards"):
        collect(Outline.read(run / "plan.json"), [], tmp_path / "out.parquet")


def test_other_data_of_the_same_name_is_refused(folder, tmp_path):
    plan = Plan.read(folder / "run/plan.json")
    found = json.loads((folder / "run/data/photos10.json").read_text())["fingerprint"]
    check_fingerprint(plan.reused, "photos10", found)
    check_fingerprint(plan.reused, "cifar10", found)
    other = replace(plan, reused=[replace(plan.reused[0], data={"photos10": "0" * 64})])
    message = (
        r"^data set 'photos10' has SHA-256 [0-9a-f]{12}\.\.\., but the cells reused from .*old were computed with 0{12}"
    )
    with pytest.raises(UserError, match=message):
        record_dataset(other, "photos10", tmp_path / "data/photos10.json")
    assert not (tmp_path / "data").exists()
    record_dataset(plan, "photos10", tmp_path / "data/photos10.json")
    with pytest.raises(UserError, match=message):
        check_folder(other, tmp_path)
    check_folder(plan, tmp_path)
    assert not (tmp_path / "plan.json").exists()


def test_what_cannot_be_reused_is_one_line(folder, tmp_path, cache):
    def refused(**settings):
        with pytest.raises(UserError) as caught:
            open_archives(Config.parse({"device": "cpu", "cache": str(cache), **settings}, "here"))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    old = str(folder / "old")
    assert "holds no archived results" in refused(reuse=str(tmp_path))
    assert (
        refused(reuse=[old], threads=2) == f"threads is 2, but the cells in {old} were computed with 1; set threads: 1"
    )
    assert refused(reuse=[old], precision="bf16").startswith("precision is bf16, but")
    shutil.copytree(old, tmp_path / "old")
    (tmp_path / "old/results.parquet").write_bytes(b"")
    assert "is not the archived file" in refused(reuse=[str(tmp_path / "old")])
    assert Config.parse({"reuse": old}, "here") == Config.parse({"reuse": [old]}, "here")
    with pytest.raises(UserError, match="here: reuse"):
        Config.parse({"reuse": 3}, "here")
    with pytest.raises(UserError, match="which a run of study 'tiny' would overwrite"):
        check_folder(Plan.read(folder / "run/plan.json"), folder / "old")


def test_galleries_show_the_cells_that_have_pictures(folder, tmp_path):
    ran = gradleak(
        *("figures", "--plan", folder / "run/plan.json", "--results", folder / "run/results.parquet"),
        *("--images", folder / "run/images.parquet", "--out", tmp_path),
    )
    assert ran.code == 0, ran.err
    assert "left out, for they show reused cells only, without pictures: fig4a_gallery\n" in ran.err
    expected = Workflow(Plan.read(folder / "run/plan.json")).figures
    assert {path.name for path in tmp_path.iterdir()} == set(expected)
    assert "fig4b_gallery.png" in expected
    assert "6 of 8 cells come from an archive" in (tmp_path / "fig4b_gallery.txt").read_text()
    alone = gradleak(
        *("figures", "--plan", folder / "run/plan.json", "--results", folder / "run/results.parquet"),
        *("--images", folder / "run/images.parquet", "--out", tmp_path, "fig4a"),
    )
    assert "a gallery needs pictures, and all cells come from archives" in alone.err


def test_nothing_but_tables_and_plots_is_left_where_all_is_reused(folder, cache, tmp_path):
    plan = finished_run(tmp_path / "all", cache, GROWN, reuse=[str(folder / "made")])
    workflow = Workflow(plan)
    assert not any("gallery" in name for name in workflow.figures)
    outline, experiments = read_plan(tmp_path / "all/plan.json")
    rules = {rule.name for rule in rules_of(outline, experiments.values())}
    assert rules == {"collect_results", "theory", "survey", "tables", "figures", "claims", "report"}
    rows, made = (path / "results.parquet" for path in (tmp_path / "all", folder / "made"))
    pd.testing.assert_frame_equal(pd.read_parquet(rows), pd.read_parquet(made))
    write_archive(tmp_path / "all", tmp_path / "again/made")
    assert (tmp_path / "again/made/provenance.json").read_text() == (folder / "made/provenance.json").read_text()


def test_an_archive_of_a_run_that_reuses_one_stands_alone(folder):
    old, made, plan = Archive(folder / "old"), Archive(folder / "made"), Plan.read(folder / "run/plan.json")
    texts = (folder / "made/plan.json").read_text() + (folder / "made/provenance.json").read_text()
    assert str(folder) not in texts
    assert "reuse" not in texts
    assert (folder / "made/results.parquet").read_bytes() == (folder / "run/results.parquet").read_bytes()
    assert made.plan.cells == plan.cells
    assert made.plan.batches == {**plan.batches, **old.plan.batches}
    assert made.plan.checkpoints.keys() == old.plan.checkpoints.keys()
    assert [len(run.cells) for run in made.runs] == [2, 1, 4, 6, 3]
    found = made.provenance
    assert (found.cells, found.rows) == (16, len(made.results))
    for stage in ("update", "reconstruct", "score"):
        assert found.jobs[stage].keys() == made.plan.batches.keys()
    assert found.seconds == pytest.approx(
        sum(job.seconds for jobs in found.jobs.values() for job in jobs.values()), abs=0.1
    )
    assert list(found.victims[0].images) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found.data == old.provenance.data


@pytest.fixture
def config(tmp_path, cache):
    path = tmp_path / "config.yaml"
    path.write_text(f"{{cache: {cache}, device: cpu, reuse: [nowhere]}}")
    return path


def test_old_and_new_cells_are_verified(folder, config):
    """The drawn runs: one of the archive that was reused, and one of the run."""
    made, old = Archive(folder / "made"), Archive(folder / "old").plan.cells

    def origins(seed):
        return sorted(cell in old for cell, _ in draw(made, 2, seed, 8.0, "cpu"))

    seed = next(seed for seed in range(99) if origins(seed) == [False, True])
    ran = gradleak("verify", folder / "made", "--config", config, "--cells", 2, "--seed", seed)
    assert ran.code == 0, ran.err
    assert f"2 of 16 cells, drawn with seed {seed}" in ran.out
    assert re.search(r"\n(\d+) of \1 cells are identical, all agree\n", ran.out)
    assert ran.out.count("*") == 2


def test_a_batch_of_which_a_study_has_a_part_is_computed_whole(folder, config, cache, tmp_path):
    """Bits depend on what is attacked together: the cells of two epochs are computed too, and not compared."""
    old, made = Archive(folder / "old"), Archive(folder / "partial")
    own = Plan.read(folder / "part/plan.json").cells
    (batch,) = old.plan.batches
    assert made.plan.batches[batch].cells == old.plan.batches[batch].cells
    assert set(made.plan.batches[batch].held) == own.keys() & old.plan.cells.keys()
    assert set(made.results["cell_id"]) == own.keys()
    more = made.plan.cells.keys() - own.keys()
    assert len(more) == 3
    assert made.provenance.cells == len(own)
    (whole,) = (run for run in made.runs if len(run.cells) > len(run.compared))
    assert more == {cell.id for cell in whole.cells} - set(whole.compared)
    seed = next(seed for seed in range(99) if draw(made, 1, seed, 8.0, "cpu")[0][1] is whole)
    ran = gradleak("verify", folder / "partial", "--config", config, "--cells", 1, "--seed", seed)
    assert ran.code == 0, ran.err
    assert f"{len(whole.compared)} of {len(whole.compared)} cells are identical, all agree" in ran.out
    assert not any(cell in ran.out for cell in more)
    # The archive does not offer what it has no results of; what was held is handed on.
    plan = planned(tmp_path / "whole", cache, GROWN, reuse=[str(folder / "partial")])
    assert plan.computed.keys() == more | (plan.cells.keys() - own.keys())
    joined, _ = join_archives(plan, made.provenance.model_copy(update={"jobs": {}}))
    assert joined.batches == {**plan.batches, **made.plan.batches}


def test_parts_of_one_batch_that_two_archives_hold_are_joined_if_one_job_computed_them(folder, cache, tmp_path):
    (batch,) = Archive(folder / "old").plan.batches
    both = [str(folder / "partial"), str(folder / "old")]
    finished_run(tmp_path / "run", cache, GROWN, reuse=both)
    assert [len(entry.cells) for entry in Plan.read(tmp_path / "run/plan.json").reused][1] == 3
    write_archive(tmp_path / "run", tmp_path / "made")
    made = Archive(tmp_path / "made")
    made.check()
    assert made.plan.batches[batch].held is None
    assert made.plan.cells.keys() == Archive(folder / "made").plan.cells.keys()
    # The same batch, computed again: its images differ from those of the part.
    shutil.copytree(folder / "old", tmp_path / "again")
    path = tmp_path / "again/provenance.json"
    content = json.loads(path.read_text())
    content["jobs"]["reconstruct"][batch]["seconds"] += 1
    path.write_text(json.dumps(content))
    sign(tmp_path / "again")
    finished_run(tmp_path / "other", cache, GROWN, reuse=[str(folder / "partial"), str(tmp_path / "again")])
    with pytest.raises(UserError, match=f"batch {batch} is in another reused archive too, computed there again"):
        write_archive(tmp_path / "other", tmp_path / "refused")


def test_the_report_says_what_comes_from_where(folder, tmp_path):
    plan = json.loads((folder / "run/plan.json").read_text())
    found = read_provenance(folder / "run", Outline.parse(json.dumps(plan)), [])
    assert found.reused == ((str(folder / "old"), 9, sha256(folder / "old" / MANIFEST)),)
    own = read_provenance(folder / "run", Outline.parse(json.dumps(plan | {"reused": []})), [])
    assert (own.reused, found.files - own.files) == ((), 3)  # an update, an attack, scores
    made = read_provenance(folder / "made", Outline.read(folder / "made/plan.json"), [])
    assert made.reused == ()


def place(**changes):
    content = {"device": "cpu", "cpu": {"model": "A"}, "python": "3", "platform": "p", "versions": {"torch": "2"}}
    return Environment.model_validate({**content, "commit": "c", **changes})


def job(environment, seconds):
    return Job(environment=environment, seconds=seconds, finished="2026-01-01T00:00:00Z")


@pytest.mark.parametrize("cpu", ["A", "B"])
def test_a_training_that_was_needed_again_counts_as_run_in_both_places(cpu, tmp_path):
    """An archive holds no weights: what a new cell shares with old ones is trained again."""
    content = yaml.safe_load((ROOT / "tests/workflow/federated.yaml").read_text())
    (tmp_path / "federated.yaml").write_text(yaml.safe_dump(content))
    config = Config(device="cpu")
    old = make_plan(load_study(tmp_path / "federated.yaml"), config)
    (batch,), (training,) = old.batches, old.trainings
    everywhere = [place()]
    jobs = {"reconstruct": {batch: job(0, 5.0)}, "score": {batch: job(0, 1.0)}, "federate": {training: job(0, 30.0)}}
    known = sum_up(old, len(old.cells), {}, [], everywhere, jobs)
    archive = tmp_path / "archive"
    archive.mkdir()
    old.write(archive / "plan.json")
    (archive / "provenance.json").write_text(known.text())
    write_parquet(pd.DataFrame({"cell_id": list(old.cells)}), archive / "results.parquet")
    sign(archive)

    content["trials"] = {"count": content.get("trials", {}).get("count", 1) + 1}
    (tmp_path / "federated.yaml").write_text(yaml.safe_dump(content))
    config = Config(device="cpu", reuse=[archive])
    plan = make_plan(load_study(tmp_path / "federated.yaml"), config, None, open_archives(config))
    (new,) = plan.batches
    assert list(plan.trainings) == [training]
    assert plan.accuracies().keys() == plan.computed.keys()
    jobs = {"reconstruct": {new: job(0, 4.0)}, "score": {new: job(0, 1.0)}, "federate": {training: job(0, 31.0)}}
    own = sum_up(plan, 2 * len(old.cells), {}, [], [place(cpu={"model": cpu})], jobs)
    joined, provenance = join_archives(plan, own)
    assert joined.reused == ()
    assert list(joined.cells) == list(plan.cells)
    assert joined.trainings == old.trainings
    found = provenance.jobs["federate"][training]
    assert (found.seconds, len(found.again)) == (31.0, int(cpu == "B"))
    assert provenance.seconds == 5 + 1 + 4 + 1 + 31
    assert provenance.places("reconstruct", batch)[0] == place()
    assert {each.cpu["model"] for each in provenance.places("federate", training)} == {"A", cpu}
    assert "again" not in known.text()
    assert Provenance.model_validate_json(provenance.text()) == provenance


def test_other_pixels_and_other_data_do_not_join(folder):
    victims = Archive(folder / "old").provenance.victims
    assert join_victims(victims, victims) == victims
    other = [Victims(dataset=victims[0].dataset, images={0: "0" * 16})]
    with pytest.raises(UserError, match="not the same pixels"):
        join_victims(victims, other)
    plan, made = Plan.read(folder / "run/plan.json"), Archive(folder / "made").provenance
    data = {"photos10": made.data["photos10"].model_copy(update={"fingerprint": "0" * 64})}
    with pytest.raises(UserError, match=r"'photos10': the cells reused from .*old were computed with another one"):
        join_archives(plan, made.model_copy(update={"data": data}))


def test_in_no_time_a_part_of_a_study_is_what_the_archive_has_and_is_shown(folder, cache, tmp_path):
    plan = finished_run(tmp_path / "part", cache, GROWN, reuse=str(folder / "old"), minutes=0, run="mine")
    assert (plan.study, plan.config.minutes, plan.batches) == ("mine", 0, {})
    assert plan.cells.keys() == Plan.read(folder / "first/plan.json").cells.keys()
    assert "own" not in plan.experiments
    read = ["--plan", str(tmp_path / "part/plan.json"), "--results", str(tmp_path / "part/results.parquet")]
    for stage in ("tables", "figures", "claims"):
        ran = gradleak(stage, *read, "--out", str(tmp_path / "out"))
        assert ran.code == 0, ran.err
    write_archive(tmp_path / "part", tmp_path / "kept")
    kept = Archive(tmp_path / "kept")
    kept.check()
    assert (kept.plan.study, kept.provenance.study, kept.plan.config.study) == ("kept", "kept", "kept")
    assert (kept.plan.config.run, kept.plan.config.minutes) == (None, None)
    # An archive can be extended in its own place.
    shutil.copytree(folder / "old", tmp_path / "old")
    finished_run(tmp_path / "more", cache, GROWN, reuse=str(tmp_path / "old"), minutes=60)
    write_archive(tmp_path / "more", tmp_path / "old")
    Archive(tmp_path / "old").check()
    assert len(Archive(tmp_path / "old").plan.cells) == 16


def test_an_archive_that_would_lose_cells_is_replaced_only_if_told_to(folder, tmp_path):
    shutil.copytree(folder / "made", tmp_path / "kept")
    lost = Plan.read(folder / "run/plan.json").cells.keys() - Plan.read(folder / "first/plan.json").cells.keys()
    asked = ["archive", str(folder / "first"), "--out", str(tmp_path / "kept")]
    refused = gradleak(*asked)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert f"kept: has {len(lost)} cells that {folder / 'first'} has not; " in refused.err
    Archive(tmp_path / "kept").check()
    assert lost <= Archive(tmp_path / "kept").plan.cells.keys()
    assert gradleak(*asked, "--drop").code == 0
    Archive(tmp_path / "kept").check()
    assert not lost & Archive(tmp_path / "kept").plan.cells.keys()


def test_a_run_that_draws_nothing_can_be_archived(folder, tmp_path):
    shutil.copytree(folder / "first", tmp_path / "run")
    (tmp_path / "run/images.parquet").unlink()
    write_archive(folder / "first", tmp_path / "drawn")
    write_archive(tmp_path / "run", tmp_path / "small")
    drawn, small = Archive(tmp_path / "drawn").provenance, Archive(tmp_path / "small").provenance
    assert small.victims == drawn.victims
    assert small.victims[0].images


def test_an_archive_whose_results_cannot_be_read_is_replaced(folder, tmp_path):
    shutil.copytree(folder / "made", tmp_path / "kept")
    (tmp_path / "kept/results.parquet").write_bytes(b"half")
    write_archive(folder / "first", tmp_path / "kept")
    Archive(tmp_path / "kept").check()


def test_an_archive_must_have_the_name_of_a_study(folder, tmp_path):
    for name in ("theory", "a b"):
        with pytest.raises(UserError, match=f"{name}: the archive's study '{name}': "):
            write_archive(folder / "first", tmp_path / name)


def test_what_is_chosen_is_said_and_listed(folder, cache, tmp_path):
    (tmp_path / "tiny.yaml").write_text(GROWN)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"device": "cpu", "cache": str(cache)}))
    asked = ["plan", "--config", str(tmp_path / "config.yaml"), "--study", str(tmp_path / "tiny.yaml")]
    asked += ["--reuse", str(folder / "old"), "--minutes"]
    ran = gradleak(*asked, "0")
    said = " ".join(ran.out.split())
    assert "minutes 0: 0 cells chosen, about 0.0 minutes; 7 left out, about 0.01 hours: table1 2 (0.01 h)" in said
    assert "experiments without a cell: own" in said
    assert not gradleak(*asked, "0", "--list").out
    ran = gradleak(*asked, "60", "--list", "--out", str(tmp_path / "plan.json"))
    assert ran.code == 0, ran.err
    heading, *lines = ran.out.splitlines()
    assert heading.split() == ["cell", "experiment", "entry", "trial", "narrows", "LPIPS", "by", "seconds", "why"]
    chosen = [line.split()[0] for line in lines]
    assert sorted(chosen) == sorted(Plan.read(tmp_path / "plan.json").computed)
    # The attack that has no trial yet comes first.
    assert lines[0].split()[1:5] == ["own", "variant", "E", "1"]
    assert lines[0].rstrip().endswith("no trial yet")


def test_what_a_part_cannot_show_yet_is_left_out_and_named(folder, cache, tmp_path):
    compared = """
      - {kind: contrast, between: {label: variant, baseline: G, against: E}, pair_by: [image]}
"""
    both = GROWN.replace("      - {kind: line", compared.removeprefix("\n") + "      - {kind: line").replace(
        "- {labels: {variant: G}, axes: [{client.samples: [1, 2]}]}",
        "- {labels: {variant: G}, axes: [{client.samples: [1, 2]}]}\n"
        "      - {labels: {variant: E}, set: {attack.objective: euclidean}}",
    )
    (tmp_path / "tiny.yaml").write_text(both)
    settings = {
        "study": str(tmp_path / "tiny.yaml"),
        "cache": str(cache),
        "device": "cpu",
        "reuse": str(folder / "old"),
    }
    plan, _, lines = plan_run(Config.parse(settings | {"minutes": 0}, "here"))
    assert lines[1:] == [
        "not shown yet: contrast of fig4b: experiment 'fig4b': no image has variant 'E'; they have: G",
    ]
    assert [entry["kind"] for entry in plan.experiments["fig4b"]["show"]] == ["gallery", "line"]
    plan, _, lines = plan_run(Config.parse(settings | {"minutes": 60}, "here"))
    assert len(lines) == 1
    assert [entry["kind"] for entry in plan.experiments["fig4b"]["show"]] == ["gallery", "contrast", "line"]
