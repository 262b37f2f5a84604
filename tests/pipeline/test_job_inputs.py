"""Which source files are inputs of which kind of job, as `job_inputs.yaml` lists them.

`python tests/pipeline/test_job_inputs.py` writes that file anew: look at what changes in it.
"""

import tempfile
from pathlib import Path

import pytest
import yaml
from test_core_code import PACKAGE, workflow_of

from gradleak.pipeline.stages import RULES
from gradleak.study.outline import Outline
from gradleak.workflow import Workflow

LIST = Path(__file__).with_name("job_inputs.yaml")
STUDY = """
title: Every kind of job
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet}
  attack: {name: gia-o, descent: {iterations: 10}}
experiments:
  one:
    title: O
    paper: P
    show: [{kind: table, columns: attack_name}, {kind: bars, x: attack_name}]
    cells:
      - set:
          model.round: 1
          model.training: {clients: 2, rounds: 1, images: 40, post_processing: {name: qsgd}}
          post_processing: {name: clip}
          attack.priors: {tv: 0.1}
          smoothness: {method: finite}
      - set:
          attack:
            name: gia-l
            generator: {name: dcgan, dataset: {name: photos10, resolution: 16}}
            objective: euclidean
          knowledge_level: 2
"""
#: Jobs that compute; the others join, print and draw.
COMPUTING = [
    *("data", "federate", "pretrain", "update clipped", "update plain", "smoothness"),
    *("reconstruct gia-o", "reconstruct gia-l", "score"),
]


def inputs(workflow: Workflow) -> dict[str, list[str]]:
    """The source files of each kind of job of the study, relative to the package."""
    plan = workflow.plan
    of = {plan.batch_cells(name)[0].attack.name: name for name in plan.batches}
    (training,), (auxiliary,) = plan.trainings, plan.auxiliaries
    found = {
        "data": workflow.data_code(),
        "federate": workflow.federate_code(training),
        "pretrain": workflow.pretrain_code(auxiliary),
        "show": workflow.show_code(),
        "update clipped": workflow.update_code(of["gia-o"]),
        "update plain": workflow.update_code(of["gia-l"]),
        "smoothness": workflow.smoothness_code(of["gia-o"]),
        "reconstruct gia-o": workflow.reconstruct_code(of["gia-o"]),
        "reconstruct gia-l": workflow.reconstruct_code(of["gia-l"]),
        "score": workflow.score_code(),
        "collect": workflow.collect_code(),
        "tables": workflow.table_code(),
        "figures": workflow.figure_code(),
        "claims": workflow.claim_code(),
        "theory": workflow.theory_code(),
        "survey": workflow.survey_code(),
        "report": workflow.report_code(),
    }
    return {
        job: sorted(str(Path(file).resolve().relative_to(PACKAGE)) for file in files) for job, files in found.items()
    }


@pytest.fixture(scope="module")
def workflow(tmp_path_factory) -> Workflow:
    return workflow_of(tmp_path_factory.mktemp("study"), STUDY)


@pytest.fixture(scope="module")
def found(workflow) -> dict[str, list[str]]:
    return inputs(workflow)


@pytest.mark.parametrize("rule", RULES)
def test_a_plan_and_its_outline_have_the_same_jobs(workflow, rule):
    ids = RULES[rule].ids
    assert [*ids(workflow.plan)] == [*ids(Outline.parse(workflow.plan.text()))]
    assert [*ids(workflow.plan)], "the study has every kind of job"


def test_inputs_are_those_of_the_list(found):
    assert found == yaml.safe_load(LIST.read_text())


def jobs_with(found: dict[str, list[str]], *files: str) -> set[str]:
    return {job for job in found for file in files if file in found[job]}


@pytest.mark.parametrize("name", ["cost", "planning", "expand", "spec", "settings", "nested", "outline"])
def test_an_edit_of_what_plans_reruns_no_job_that_computes(found, name):
    assert (PACKAGE / f"study/{name}.py").exists()
    assert not jobs_with(found, f"study/{name}.py") & set(COMPUTING)


def test_an_edit_of_one_defense_reruns_only_jobs_that_use_it(found):
    assert jobs_with(found, "post_processing/clip.py") == {"update clipped", "reconstruct gia-o"}
    assert jobs_with(found, "post_processing/qsgd.py") == {"federate"}
    assert jobs_with(found, "post_processing/noise.py") == set()


def test_an_edit_of_an_attack_a_prior_or_an_objective_reruns_only_attacks_that_use_it(found):
    assert jobs_with(found, "attacks/gia_o.py", "priors/total_variation.py") == {"reconstruct gia-o"}
    assert jobs_with(found, "attacks/latent_search.py", "objectives/euclidean.py") == {"reconstruct gia-l"}
    assert not jobs_with(found, "attacks/base.py", "auxiliary/base.py") & {"federate"}


def test_what_computes_needs_nothing_that_shows(found):
    for job in COMPUTING:
        assert not [
            file for file in found[job] if file.startswith(("analysis/", "presentations/", "claims/", "report/"))
        ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        LIST.write_text(
            yaml.safe_dump(inputs(workflow_of(Path(place), STUDY)), sort_keys=False, width=118, default_flow_style=None)
        )
