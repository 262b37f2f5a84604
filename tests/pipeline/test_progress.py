"""How far a run is: experiments that are finished, what is left at the pace of what is done, the work of a plan."""

import pytest
import yaml

from gradleak.pipeline.jobs import gpu_job, work
from gradleak.pipeline.progress import Job, Progress, Work, clock, duration
from gradleak.study.config import Config
from gradleak.study.cost import JOB_START_S
from gradleak.study.expand import load_study
from gradleak.study.planning import make_plan

STUDY = """
title: Two experiments that share a batch
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 1, layers: 1}}
  attack: {name: gia-o, descent: {iterations: 100}}
experiments:
  rates: {title: Rates, paper: None, show: [], cells: [{axes: [{attack.descent.lr: [0.1, 0.2]}]}]}
  one: {title: One rate, paper: None, show: [], cells: [{set: {attack.descent.lr: 0.2}}]}
"""


def score(batch):
    return Job("score_batch", batch)


def attack(batch):
    return Job("reconstruct_batch", batch)


@pytest.fixture
def progress():
    """A run of two batches from second 100 on; experiment a waits for both, b for the second, c for none."""
    seconds = {attack("x"): 10.0, attack("y"): 30.0, score("x"): 5.0, score("y"): 5.0}
    names = {"a": ["x", "y"], "b": ["y"], "c": []}
    return Progress(Work("s", seconds, {name: name.upper() for name in names}, names), 100.0)


@pytest.mark.parametrize(
    ("rule", "wildcards", "job"),
    [
        ("reconstruct_batch", {"batch": "ab"}, ("reconstruct_batch", "ab")),
        ("show_auxiliary", {"title": "GAN", "auxiliary": "cd"}, ("show_auxiliary", "cd")),
        ("federate_training_0123", {}, ("federate_training", "0123")),
        ("collect_results", {}, ("collect_results", "")),
        ("all", {}, ("all", "")),
    ],
)
def test_a_job_has_the_names_of_the_plan(rule, wildcards, job):
    assert Job.of(rule, wildcards) == job


def test_an_experiment_is_finished_when_the_last_of_its_batches_is_scored(progress):
    assert progress.finished == ["c"]
    assert progress.of(attack("y")) == ["a", "b"]
    assert progress.finish(attack("x"), 101.0) == []
    assert progress.finish(attack("y"), 102.0) == []
    assert progress.finish(score("y"), 103.0) == ["b"]
    assert progress.finish(score("x"), 104.0) == ["a"]
    assert progress.finish(score("x"), 105.0) == []
    assert progress.finished == ["c", "b", "a"]
    assert progress.done == 4


def test_what_is_left_follows_the_plan_then_the_pace_of_what_is_done(progress):
    assert progress.seconds_left(100.0) == 50.0
    progress.start(attack("x"), 100.0)
    assert progress.seconds_left(104.0) == 46.0
    progress.finish(attack("x"), 120.0)  # twice its estimate, as all that is left will
    assert progress.seconds_left(120.0) == 2 * 40.0
    progress.start(score("x"), 120.0)
    progress.finish(score("x"), 125.0)  # its own rule's pace counts more: 1
    assert progress.seconds_left(125.0) == 2 * 30.0 + 5.0
    progress.start(attack("y"), 125.0)
    assert progress.seconds_left(999.0) == 5.0  # what takes longer than it should is about to end


def test_as_many_jobs_run_at_once_as_did_so_far(progress):
    for batch in "xy":
        progress.start(attack(batch), 100.0)
    assert progress.seconds_left(110.0) == (0.0 + 20.0 + 5.0 + 5.0) / 2


def test_a_job_that_failed_is_not_left_until_it_begins_again(progress):
    progress.start(attack("y"), 100.0)
    progress.fail(attack("y"))
    assert progress.seconds_left(100.0) == 20.0
    progress.start(attack("y"), 101.0)
    assert progress.seconds_left(101.0) == 50.0


def test_times_as_words():
    assert [duration(seconds) for seconds in (0, 44, 89, 90, 3600, 9000)] == [
        *("10 s", "40 s", "90 s", "2 min", "60 min", "2.5 h")
    ]
    assert [clock(seconds) for seconds in (0, 133.9, 36000)] == ["0:00:00", "0:02:13", "10:00:00"]


def test_the_work_of_a_plan(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(yaml.safe_load(STUDY)))
    config = Config(device="cpu", jobs={"minutes": 1e-9})
    plan = make_plan(load_study(tmp_path / "mine.yaml"), config)
    batches = {cell: batch.id for batch in plan.batches.values() for cell in batch.cells}
    first, second = (batches[entry["cell_id"]] for entry in plan.experiments["rates"]["cells"])
    rules = ("compute_updates", "reconstruct_batch", "score_batch")
    ahead = [(rule, {"batch": batch}) for batch in (first, second) for rule in rules]

    found = work(plan, [*ahead, ("figures", {})], tmp_path)
    assert found.study == "mine"
    assert found.titles == {"rates": "Rates", "one": "One rate"}
    assert found.waits == {"rates": [first, second], "one": [second]}
    assert found.seconds[attack(first)] == gpu_job(plan, "reconstruct_batch", first).seconds > JOB_START_S
    assert found.seconds[Job("figures", "")] == found.seconds[score(first)] == JOB_START_S

    # A run for the first batch alone finishes nothing; where the second was scored before, it finishes one of two.
    alone = ahead[: len(rules)]
    assert work(plan, alone, tmp_path).waits == {}
    shard = tmp_path / f"shards/{second}.parquet"
    shard.parent.mkdir()
    shard.touch()
    assert work(plan, alone, tmp_path).waits == {"rates": [first], "one": []}
