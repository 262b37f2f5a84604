"""The plan of a study's folder: one run's, which nobody changes while it goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from gradleak import workflow
from gradleak.errors import UserError
from gradleak.pipeline.plan_file import check_folder, former_plan, own_plan
from gradleak.study.config import Config
from gradleak.study.expand import load_study, study_path
from gradleak.study.planning import make_plan
from gradleak.workflow import Workflow

STUDY = Path(__file__).parents[1] / "workflow/tiny.yaml"
OTHER_RUN = """
import sys
from pathlib import Path
from gradleak.pipeline.plan_file import own_plan
from gradleak.study.plan import Plan
own_plan(Plan.read(Path(sys.argv[1])), Path(sys.argv[2]))
print("owned", flush=True)
sys.stdin.read()
"""


def planned(study=STUDY, **settings):
    config = Config.parse({"study": str(study), "device": "cpu", **settings}, "here")
    return make_plan(load_study(study_path(str(study))), config)


@pytest.fixture
def other_run(tmp_path):
    """Another process that runs the study with the settings as they are, in a folder."""
    planned().write(tmp_path / "wanted.json")
    folder = tmp_path / "results/tiny"
    command = [sys.executable, "-c", OTHER_RUN, str(tmp_path / "wanted.json"), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "owned\n"
    yield process, folder
    process.kill()
    process.wait()


def test_a_run_that_goes_on_keeps_its_plan(other_run):
    _process, folder = other_run
    before = (folder / "plan.json").read_bytes()
    assert not own_plan(planned(), folder)  # the same plan: both go on
    with pytest.raises(UserError, match="another run of study 'tiny' goes on here with other settings; wait"):
        own_plan(planned(threads=2), folder)
    assert (folder / "plan.json").read_bytes() == before


def test_the_jobs_of_a_run_that_goes_on_are_not_cancelled(other_run, monkeypatch):
    process, folder = other_run
    asked = []
    monkeypatch.setattr(workflow, "cancel_orphans", lambda here, results: asked.append(results) or [])
    Workflow(planned()).start(folder.parent, folder.parent, slurm=object())
    assert asked == []
    process.kill()
    process.wait()
    Workflow(planned(threads=2)).start(folder.parent, folder.parent, slurm=object())
    (results,) = asked
    (batch,) = planned().batches
    assert results[f"rule_reconstruct_batch_wildcards_{batch}"] == folder / f"reconstructions/{batch}.safetensors"


def test_a_killed_run_owns_nothing(other_run):
    process, folder = other_run
    process.kill()
    process.wait()
    assert own_plan(planned(threads=2), folder)
    assert former_plan(folder).config["threads"] == 2


def test_two_studies_of_one_name_do_not_share_a_folder(tmp_path):
    second = tmp_path / "elsewhere/tiny.yaml"
    second.parent.mkdir()
    second.write_text(STUDY.read_text().replace("iterations: 20", "iterations: 21"))
    own_plan(planned(), tmp_path / "results")
    with pytest.raises(
        UserError, match=f"holds the results of .*{STUDY.name}, another study of the same name; give .*"
    ):
        check_folder(planned(second), tmp_path / "results")
    check_folder(planned(), tmp_path / "results")
    second.write_bytes(STUDY.read_bytes())  # a copy of the same study is the same study
    check_folder(planned(second), tmp_path / "results")


def test_tables_and_figures_of_experiments_that_are_gone_do_not_stay(tmp_path, capsys):
    results, figures = tmp_path / "results", tmp_path / "figures"
    smaller = tmp_path / "tiny.yaml"
    smaller.write_text(STUDY.read_text()[: STUDY.read_text().index("  fig4b:")])
    Workflow(planned()).start(results, figures)
    (figures / "tiny").mkdir(parents=True)
    for name in ("table1.csv", "fig4b.pdf", "fig4b.csv", "mine.txt"):
        (figures / "tiny" / name).write_text("x")
    Workflow(planned(smaller)).start(results, figures)
    assert {path.name for path in (figures / "tiny").iterdir()} == {"table1.csv", "mine.txt"}
    said = capsys.readouterr().err
    assert said.startswith("gradleak: removed what is no longer shown: ")
    assert "fig4b.csv" in said


def test_a_plan_that_cannot_be_read_is_written_anew(tmp_path):
    (tmp_path / "plan.json").write_text('{"study": "ti')
    assert former_plan(tmp_path) is None
    check_folder(planned(), tmp_path)
    own_plan(planned(), tmp_path)
    assert former_plan(tmp_path).study == "tiny"
