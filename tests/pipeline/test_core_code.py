"""Which source files a stage depends on."""

import ast
import os
from pathlib import Path

import pytest

import gradleak
from gradleak.pipeline.code import code_files
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.planning import make_plan
from gradleak.workflow import Workflow

PACKAGE = Path(gradleak.__file__).parent


def shown(files):
    return {str(Path(os.path.abspath(file)).relative_to(PACKAGE)) for file in files}


def workflow_of(folder, study):
    path = folder / "mine.yaml"
    path.write_text(study)
    return Workflow(make_plan(load_study(path), Config(device="cpu")))


@pytest.fixture
def workflow(tmp_path):
    return workflow_of(
        tmp_path,
        """
title: Mine
defaults:
  dataset: {name: photos10, resolution: 16}
  knowledge_level: 4
  attack: {name: gia-o, descent: {iterations: 10}}
experiments:
  resnet:
    {title: R, paper: P, show: [], cells: [{set: {model.width: 0.125, attack.priors: {tv: 0.1}}}]}
  convnet:
    title: C
    paper: P
    show: []
    cells:
      - set: {model: {name: convnet, options: {norm: true}}, attack.priors: {bn: 0.1}, attack.objective: euclidean}
""",
    )


def batch_of(workflow, model):
    (batch,) = [b for b in workflow.plan.batches if workflow.plan.batch_cells(b)[0].model.name == model]
    return batch


def test_reconstructing_runs_the_engine_and_the_attack_and_no_figures():
    files = shown(code_files(["gradleak.stages.reconstruct", "gradleak.attacks.gia_o"]))
    engine = {
        *("activation", "base", "capture", "convolutions", "descent", "device", "functional", "glue", "gram", "layers"),
        *("layout", "linear", "per_trial", "vectors"),
    }
    assert {f"engine/{name}.py" for name in engine} <= files
    assert {"attacks/gia_o.py", "attacks/labels.py", "stages/reconstruct.py", "federated/client.py"} <= files
    assert {"objectives/base.py", "priors/base.py", "study/cell.py", "files.py"} <= files
    assert not any(file.startswith(("presentations/", "analysis/", "metrics/", "resources/")) for file in files)
    assert "stages/score.py" not in files


def test_the_attack_of_a_batch_runs_its_own_parts_only(workflow):
    resnet = shown(workflow.reconstruct_code(batch_of(workflow, "resnet18")))
    convnet = shown(workflow.reconstruct_code(batch_of(workflow, "convnet")))
    own = {
        "resnet": {"priors/total_variation.py", "objectives/cosine.py", "models/resnet.py"},
        "convnet": {"priors/batch_statistics.py", "objectives/euclidean.py", "models/convnet.py"},
    }
    assert own["resnet"] <= resnet
    assert own["convnet"] <= convnet
    assert not own["resnet"] & convnet
    assert not own["convnet"] & resnet
    assert "data/photos10.py" in resnet


def test_the_updates_of_a_batch_do_not_depend_on_the_attack(workflow):
    files = shown(workflow.update_code(batch_of(workflow, "resnet18")))
    assert {"federated/client.py", "models/resnet.py", "data/photos10.py", "stages/update.py"} <= files
    assert not any(file.startswith(("priors/", "engine/", "presentations/")) for file in files)
    assert "attacks/gia_o.py" not in files
    assert "objectives/cosine.py" not in files


def test_updates_attacks_and_trainings_depend_on_the_defenses_that_they_name(tmp_path):
    workflow = workflow_of(
        tmp_path,
        """
title: Mine
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, round: 1, training: {clients: 2, images: 40, post_processing: {name: qsgd}}}
  attack: {name: gia-o, descent: {iterations: 10}}
  post_processing: {name: top_k}
experiments:
  one: {title: O, paper: P, show: [], cells: [{}]}
""",
    )
    (batch,), (training,) = workflow.plan.batches, workflow.plan.trainings
    for files, own, other in (
        (workflow.update_code(batch), "top_k", "qsgd"),
        (workflow.reconstruct_code(batch), "top_k", "qsgd"),
        (workflow.federate_code(training), "qsgd", "top_k"),
    ):
        assert {f"post_processing/{own}.py", "post_processing/chain.py"} <= shown(files)
        assert f"post_processing/{other}.py" not in shown(files)


def test_scores_depend_on_every_metric_and_not_on_the_engine(workflow):
    files = shown(workflow.score_code())
    assert {f"metrics/{name}.py" for name in ("base", "image", "lpips", "backbone", "matching")} <= files
    assert not any(file.startswith(("engine/", "presentations/")) for file in files)


@pytest.mark.parametrize("stage", ["checkpoint", "update", "reconstruct", "score", "data", "federate"])
def test_closure_holds_every_package_import_of_every_file_in_it(stage):
    files = code_files([f"gradleak.stages.{stage}"])
    assert files == sorted(set(files))
    found = shown(files)
    for file in found:
        tree = ast.parse((PACKAGE / file).read_text())
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in set(ast.walk(tree)) - for_types:
            names = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradleak."):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("gradleak.")]
            for name in names:
                path = Path(*name.split(".")[1:])
                if (PACKAGE / path.with_suffix(".py")).exists():
                    assert str(path.with_suffix(".py")) in found, f"{file} imports {name}"


def test_paths_are_relative_inside_the_working_directory_and_absolute_outside(monkeypatch, tmp_path):
    monkeypatch.chdir(PACKAGE.parent)
    assert "gradleak/study/cell.py" in code_files(["gradleak.study.cell"])
    monkeypatch.chdir(tmp_path)
    assert str(PACKAGE / "study/cell.py") in code_files(["gradleak.study.cell"])


def test_modules_outside_the_package_are_left_out():
    assert code_files(["torch", "gradleak.nosuch"]) == []
