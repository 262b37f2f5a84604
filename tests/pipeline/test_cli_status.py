"""`gradleak status` on a study whose jobs are in every state, with marks as Snakemake writes them."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from core_cases import gradleak

from gradleak.pipeline.jobs import gpu_job
from gradleak.pipeline.status import study_status
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.planning import make_plan

STUDY = """
title: Four attacks
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 1, layers: 1}}
  attack: {name: gia-o, descent: {iterations: 100}}
experiments:
  rates:
    title: Rates
    paper: Table 1
    cells: [{axes: [{attack.descent.lr: [0.1, 0.2, 0.3, 0.4]}]}]
    show: []
"""
RESULTS = Path("results/mine")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The plan of a study of four batches in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(STUDY)
    Path("config.yaml").write_text(yaml.safe_dump({"study": "mine.yaml"}))
    config = Config(device="cpu", jobs={"minutes": 1e-9})
    plan = make_plan(load_study(Path("mine.yaml")), config)
    plan.write(RESULTS / "plan.json")
    assert len(plan.batches) == 4
    return plan


def finish(batch, seconds):
    out = RESULTS / f"reconstructions/{batch}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.touch()
    out.with_name(out.name + ".provenance.json").write_text(json.dumps({"seconds": seconds}))


def begin(batch):
    name = f"{RESULTS}/reconstructions/{batch}.safetensors"
    mark = Path(".snakemake/incomplete") / base64.urlsafe_b64encode(name.encode()).decode()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text('{"external_jobid": "7"}')
    log(batch)


def log(batch):
    path = RESULTS / f"logs/reconstruct_batch/{batch}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_each_job_is_in_the_state_that_its_files_show(plan):
    first, second, third, fourth = plan.batches
    finish(first, 1.0)
    begin(second)
    log(third)
    states = {state.rule: state for state in study_status(plan, RESULTS, Path(".snakemake"))}
    assert states.keys() == {"reconstruct_batch", "score_batch"}
    attack = states["reconstruct_batch"]
    assert (attack.done, attack.started, attack.failed, attack.waiting) == ([first], [second], [third], [fourth])
    assert states["score_batch"].waiting == list(plan.batches)
    assert f"failed: {RESULTS}/logs/reconstruct_batch/{third}.log" in gradleak("status").out


def test_the_time_left_is_at_the_pace_of_what_is_done(plan):
    first, second, *rest = plan.batches
    finish(first, 300 * gpu_job(plan, "reconstruct_batch", first).seconds)
    begin(second)
    begin(rest[0])
    left = 300 * sum(gpu_job(plan, "reconstruct_batch", name).seconds for name in (second, *rest)) / 3600
    text = " ".join(gradleak("status").out.split())
    assert f"about {left:.2f} hours of jobs (300.00 times the estimate, as those done)" in text
    assert f"{left / 2:.2f} hours with 2 at once" in text
    for batch in plan.batches:
        finish(batch, 1.0)
    for mark in Path(".snakemake/incomplete").iterdir():
        mark.unlink()
    assert "all attacks and trainings are done" in gradleak("status").out


def test_a_study_that_never_ran_is_one_line(plan):
    (RESULTS / "plan.json").unlink()
    ran = gradleak("status")
    assert ran.code == 2
    assert "run `gradleak plan`" in ran.err
