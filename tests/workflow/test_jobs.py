"""The numbers of jobs and hours that `gradleak plan` prints are those of Snakemake's DAG."""

import io
import re
from collections import Counter

import pytest
from rich.console import Console
from test_federated import plan_of
from test_workflow import ROOT, checkout  # noqa: F401  # the fixture

from gradleak.pipeline.jobs import gpu_jobs, job_counts, plan_summary
from gradleak.pipeline.stages import RULES
from gradleak.presentations.read import parse_experiment
from gradleak.report.graph import rules_of
from gradleak.study.outline import Outline

STUDY = "tests/workflow/federated.yaml"
GAN = "{name: dcgan, dataset: {name: photos10, resolution: 16}, channels: 8, steps: 3, batch_size: 4}"
LOCAL = re.findall(r"^    (\w+),$", (ROOT / "Snakefile").read_text().split("localrules:")[1], re.M)


@pytest.fixture
def place(checkout):  # noqa: F811
    """A checkout whose study has every kind of job."""
    place = checkout("jobs")
    study = place.folder / STUDY
    text = study.read_text()
    attack = "attack: {name: gia-o, descent: {iterations: 5}}"
    measured = "set: {smoothness: {method: finite, samples: 4}}\n        axes: [{model.round"
    more = f"""
      - set: {{attack: {{name: gia-l, generator: {GAN}, restarts: 1}}, knowledge_level: 3}}
    show:
      - {{kind: table, rows: [model_round], columns: attack_name, values: [lpips]}}
      - {{kind: gallery, columns: model_round}}"""
    text = text.replace("axes: [{model.round", measured).replace("\n    show: []", more)
    assert attack in text
    study.write_text(text)
    return place


@pytest.fixture
def planned(place):
    """The plan of that study, and what Snakemake would run."""
    done = place.snakemake("--dry-run", study=STUDY)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return plan_of(place.folder / STUDY), done.stdout


def test_the_plan_counts_the_jobs_of_the_dag(planned):
    plan, text = planned
    rules = Counter(
        re.sub(r"^(federate_training)_\w+", r"\1", rule) for rule in re.findall(r"^rule (\w+):", text, re.M)
    )
    assert job_counts(plan) == {rule: count for rule, count in rules.items() if rule not in LOCAL}
    assert {"pretrain_auxiliary", "federate_training", "measure_smoothness"} < rules.keys()
    out = Console(record=True, width=300, file=io.StringIO())
    out.print(plan_summary(plan))
    assert f"{rules['reconstruct_batch']} reconstruct_batch" in out.export_text()
    experiments = [parse_experiment(name, content, "plan") for name, content in plan.experiments.items()]
    shown = {rule.name: rule.jobs for rule in rules_of(Outline.parse(plan.text()), experiments)}
    cached = {"fetch_lpips": 1}
    assert shown == {rule: count for rule, count in rules.items() if rule != "all"} | cached


def test_the_reports_graph_is_snakemakes(place):
    drawn = place.snakemake("--rulegraph", "dot", "report", study=STUDY)
    assert drawn.returncode == 0, drawn.stderr[-3000:]
    names = dict(re.findall(r'(\d+)\[label = "(\w+?)(?:_[0-9a-f]{16})?"', drawn.stdout))
    edges = {(names[first], names[second]) for first, second in re.findall(r"(\d+) -> (\d+)", drawn.stdout)}
    assert {(need, rule) for rule, stage in RULES.items() for need in stage.needs} == edges
    assert set(names.values()) == RULES.keys()


def test_the_plans_hours_are_those_of_the_jobs_limits(planned):
    plan, text = planned
    with_gpu = (
        r"^rule (?:reconstruct_batch|measure_smoothness|pretrain_auxiliary|federate_training_\w+):\n((?:    .*\n)+)"
    )
    blocks = re.findall(with_gpu, text, re.M)
    limits = [int(re.search(r"runtime=(\d+)", block)[1]) for block in blocks]
    jobs = gpu_jobs(plan)
    assert sorted(limits) == sorted(job.limit_min for job in jobs)
    estimated = sum(job.seconds for job in jobs) / 60
    assert estimated <= sum(limit - 10 for limit in limits) / 2 < estimated + 0.5 * len(limits)


def test_settings_of_rules_under_former_names_are_taken_and_it_is_said(place):
    (training,) = plan_of(place.folder / STUDY).trainings
    old = ["run_attack:mem_mb=1234", "run_attack:runtime=5", f"train_federated_{training}:mem_mb=77"]
    threads = ["--set-threads", "show_auxiliary=1", "write_checkpoint=1"]
    options = ["--set-resources", *old, "reconstruct_batch:runtime=6", *threads]
    done = place.snakemake("--dry-run", *options, study=STUDY)
    assert done.returncode == 0, done.stderr[-3000:]
    (resources,) = set(re.findall(r"^rule reconstruct_batch:\n(?:    .*\n)*?    resources: (.*)", done.stdout, re.M))
    assert "mem_mb=1234" in resources
    assert "runtime=6" in resources  # today's name wins
    assert re.search(
        rf"^rule federate_training_{training}:\n(?:    .*\n)*?    resources: .*mem_mb=77", done.stdout, re.M
    )
    assert "the rule 'run_attack' is now 'reconstruct_batch'" in done.stderr
    assert "the rule 'show_auxiliary' is now 'show_auxiliaries'" in done.stderr
    assert "there is no rule 'write_checkpoint' any more" in done.stderr


def test_rules_that_snakemake_runs_itself_are_those_of_the_table():
    assert set(LOCAL) == {"all"} | {rule for rule, stage in RULES.items() if stage.local}
