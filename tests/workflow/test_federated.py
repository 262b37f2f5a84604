"""A federated training as Snakemake sees it: one job makes all rounds, and goes on where a study asks for more."""

import re

import pytest
from test_workflow import ROOT, checkout  # noqa: F401  # the fixture

from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.planning import make_plan
from gradleak.workflow import Workflow

STUDY = "tests/workflow/federated.yaml"
RESULTS = "results/federated"


def plan_of(path):
    return make_plan(load_study(path), Config.parse({"device": "cpu"}, "here"))


def snakemake(place, *targets):
    """Run Snakemake; returns the names of the rules that it ran, or would run."""
    done = place.snakemake(*targets, study=STUDY)
    assert done.returncode == 0, done.stderr[-3000:]
    return re.findall(r"rule (\w+):", done.stdout + done.stderr)


@pytest.mark.slow
def test_one_job_makes_all_rounds_and_goes_on_for_more(checkout):  # noqa: F811
    place = checkout("federated")
    study = place.folder / STUDY
    plan = plan_of(study)
    (training,) = plan.trainings
    rule, accuracy = f"federate_training_{training}", f"{RESULTS}/trainings/{training}.parquet"
    log = place.folder / f"{RESULTS}/logs/federate_training/{training}.log"
    assert sorted(snakemake(place, accuracy)) == sorted(["fetch_data", rule])
    assert "1 of 4\n" in log.read_text()
    names = plan.rounds(training).values()
    made = {name: (place.folder / f"{RESULTS}/checkpoints/{name}.safetensors").read_bytes() for name in names}
    assert len(set(made.values())) == 2

    study.write_text(study.read_text().replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    longer = plan_of(study)
    assert list(longer.trainings) == [training]
    assert snakemake(place, f"{RESULTS}/checkpoints/{longer.rounds(training)[3]}.safetensors") == [rule]
    assert {name: (place.folder / f"{RESULTS}/checkpoints/{name}.safetensors").read_bytes() for name in made} == made
    assert "4 of 6\n" in log.read_text()
    assert "1 of 6\n" not in log.read_text()  # rounds 1 and 2 were kept


def test_what_a_training_runs_makes_it_run_again_and_the_attack_is_no_part_of_it():
    plan = plan_of(ROOT / STUDY)
    (training,) = plan.trainings
    workflow = Workflow(plan)
    files = workflow.federate_code(training)
    for part in ("federated/server", "federated/local", "federated/split", "models/convnet", "data/photos10"):
        assert any(file.endswith(f"src/gradleak/{part}.py") for file in files), part
    assert not any("gia_o" in file or "resnet" in file for file in files)
    (batch,) = plan.batches
    assert plan.trained(batch) == plan.trainings[training]  # and not the one of round 0
    assert len(plan.batches[batch].checkpoints) == len(plan.trained(batch)) + 1
    assert not any("federated/training" in file for file in workflow.update_code(batch))
    assert workflow.datasets(next(iter(plan.batches))) == ["photos10"]
    assert workflow.minutes("federate_training", training) == 11


def test_what_a_long_attack_needs_is_as_urgent(tmp_path):
    text = (ROOT / STUDY).read_text()
    (tmp_path / "two.yaml").write_text(text.replace("2]}]", "2]}, {attack.descent.iterations: [5, 50]}]"))
    plan = make_plan(load_study(tmp_path / "two.yaml"), Config.parse({"device": "cpu", "jobs": {"minutes": 1e-9}}, "."))
    assert len(plan.batches) == 6
    urgency = Workflow(plan).urgency
    seconds = {name: batch.seconds for name, batch in plan.batches.items()}
    assert seconds.items() <= urgency.items()
    assert len(set(seconds.values())) == 2
    assert {urgency[name] for name in plan.checkpoints} == {max(seconds.values())}


def test_only_batches_with_cells_that_ask_for_it_are_measured(tmp_path):
    text = (ROOT / STUDY).read_text()
    asking = text.replace(
        "axes: [{model.round", "set: {smoothness: {method: finite, samples: 4}}\n        axes: [{model.round"
    )
    assert asking != text
    (tmp_path / "asking.yaml").write_text(asking)
    workflow = Workflow(plan_of(tmp_path / "asking.yaml"))
    assert workflow.plan.smoothness_batches == list(workflow.plan.batches)
    assert plan_of(ROOT / STUDY).smoothness_batches == []
    files = workflow.smoothness_code(workflow.plan.smoothness_batches[0])
    for part in ("smoothness/igsa", "smoothness/estimate", "stages/smoothness", "models/convnet", "data/photos10"):
        assert any(file.endswith(f"src/gradleak/{part}.py") for file in files), part
    assert not any("gia_o" in file or "federated/training" in file for file in files)
    assert workflow.minutes("measure_smoothness", workflow.plan.smoothness_batches[0]) == 11
