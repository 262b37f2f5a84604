"""The command line: help, bad input as one line with exit code 2, and `gradleak attack`."""

import copy

import click
import pandas as pd
import pytest
import torch
import yaml
from core_cases import gradleak
from PIL import Image

from gradleak.cli import SECTIONS, cli
from gradleak.cli.options import prepare_cpu
from gradleak.engine import device
from gradleak.study.cell import Cell
from gradleak.study.config import Config

COMMANDS = [name for commands in SECTIONS.values() for name in commands]
CELL = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1}},
    "client": {"samples": 2},
    "attack": {"name": "gia-o", "restarts": 2, "descent": {"iterations": 3}},
    "victims": [0, 1],
}


def write_yaml(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def changed(changes, base=CELL):
    content = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = content
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return content


@pytest.fixture
def config(tmp_path, cache):
    return write_yaml(tmp_path / "config.yaml", {"device": "cpu", "cache": str(cache)})


def assert_refused(ran, message, folder, before):
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("gradleak: ")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    assert message in ran.err
    assert "pydantic" not in ran.err
    assert sorted(folder.rglob("*")) == before


def test_help_lists_every_command_in_its_section():
    ran = gradleak("--help")
    assert ran.code == 0
    position = 0
    for title, commands in SECTIONS.items():
        position = ran.out.index(f"{title}:", position)
        for command in commands:
            position = ran.out.index(f"\n  {command} ", position)
    assert gradleak("-h").out == ran.out


def test_every_command_is_listed():
    import importlib
    import pkgutil

    import gradleak.cli

    modules = [
        importlib.import_module(f"gradleak.cli.{found.name}") for found in pkgutil.iter_modules(gradleak.cli.__path__)
    ]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, click.Command)]
    inner = {each for command in found if isinstance(command, click.Group) for each in command.commands.values()}
    assert {command.name for command in found if command not in inner} == set(COMMANDS)


def leaf_commands():
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        parts = command.list_commands(context) if isinstance(command, click.Group) else []
        yield from [(name, part) for part in parts] or [(name,)]


@pytest.mark.parametrize("command", list(leaf_commands()), ids=" ".join)
def test_help_of_each_command_has_an_example(command):
    ran = gradleak(*command, "--help")
    assert ran.code == 0
    assert "Example" in ran.out
    assert f"gradleak {' '.join(command)}" in ran.out.split("Example")[1]


def test_version_is_printed():
    from gradleak import __version__

    assert gradleak("--version").out.strip().endswith(__version__)


@pytest.mark.parametrize("arguments", [["nosuch"], ["plan", "--nosuch"], ["reconstruct"], ["attack"]])
def test_wrong_usage_ends_with_code_2_and_no_traceback(arguments):
    ran = gradleak(*arguments)
    assert ran.code == 2
    assert "Error" in ran.err
    assert "Traceback" not in ran.err


def test_printed_example_is_a_valid_cell_that_names_every_key():
    ran = gradleak("attack", "--example")
    content = yaml.safe_load(ran.out)
    cell = Cell.parse(content, "example")
    assert cell.client.samples == 1

    def keys(content, prefix=""):
        for key, value in content.items():
            yield prefix + key
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")

    left_out = set(keys(cell.model_dump(mode="json"))) - set(keys(content))
    assert left_out == {"client.steps"}


def test_attack_writes_parquet_and_a_picture(tmp_path, config):
    cell = write_yaml(tmp_path / "cell.yaml", CELL)
    ran = gradleak("attack", cell, "--out", tmp_path / "out", "--config", config)
    assert ran.code == 0, ran.err
    parsed = Cell.parse(CELL, "here")
    assert ran.out.startswith(f"cell {parsed.id}: lpips ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "images.parquet",
        "picture.png",
        "result.parquet",
    ]
    frame = pd.read_parquet(tmp_path / "out/result.parquet")
    assert len(frame) == 4
    assert frame["chosen"].sum() == 2
    assert (frame["cell_id"] == parsed.id).all()
    assert f"lpips {frame.loc[frame['chosen'], 'lpips'].mean():.4f}" in ran.out
    with Image.open(tmp_path / "out/picture.png") as picture:
        assert picture.height == 2 * picture.width * 188 // 332
    # The same again is the same again.
    again = gradleak("attack", cell, "--out", tmp_path / "again", "--config", config)
    assert again.code == 0
    for name in ("result.parquet", "images.parquet", "picture.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


BAD_CELLS = [
    ({"seeed": 1}, "cell.yaml: seeed: unknown key"),
    ({"attack.descent.iterationz": 1}, "cell.yaml: attack.descent.iterationz: unknown key"),
    ({"client.samples": "many"}, "cell.yaml: client.samples: "),
    ({"client.batch_size": 5}, "batch_size B is 5, but the client has only N=2 samples"),
    ({"client.steps": 7}, "steps U is 7, but N=2, B=2, E=1 give U=1"),
    ({"victims": [1]}, "victims lists 1 images, but client.samples N is 2"),
    ({"victims": [0, 500]}, "500"),
    ({"attack.name": "gia-x"}, "unknown attack 'gia-x'; known: gia-l, gia-o"),
    ({"attack.objective": "l1"}, "unknown objective 'l1'; known: cosine, euclidean, layers"),
    ({"attack.priors": {"tvv": 1}}, "unknown prior 'tvv'; known: bn, tv, tv_sum"),
    ({"attack.priors": {"bn": 1.0}}, "needs knowledge level 4, but knowledge_level grants 1"),
    ({"attack.knowledge": "wst"}, "needs knowledge level 3, but knowledge_level grants 1"),
    ({"attack.priors": {"bn": 1.0}, "knowledge_level": 4}, "prior 'bn' needs batch statistics"),
    ({"model.name": "resnet99"}, "unknown model 'resnet99'; known: "),
    ({"model.options.chanels": 3}, "chanels"),
    ({"dataset.name": "photos11"}, "unknown data set 'photos11'; known: "),
]


@pytest.mark.parametrize(("changes", "message"), BAD_CELLS, ids=[message[:40] for _, message in BAD_CELLS])
def test_attack_refuses_a_bad_cell_with_one_line_and_writes_nothing(tmp_path, config, changes, message):
    cell = write_yaml(tmp_path / "cell.yaml", changed(changes))
    before = sorted(tmp_path.rglob("*"))
    ran = gradleak("attack", cell, "--out", tmp_path / "out", "--config", config)
    if "bn" in changes.get("attack.priors", {}) and "knowledge_level" in changes:
        ran.err = ran.err.splitlines(keepends=True)[-1]  # after lines of progress
    assert_refused(ran, message, tmp_path, before)


def test_attack_refuses_a_round_of_no_training(tmp_path, config):
    cell = write_yaml(tmp_path / "cell.yaml", changed({"model.round": 3}))
    before = sorted(tmp_path.rglob("*"))
    ran = gradleak("attack", cell, "--out", tmp_path / "out", "--config", config)
    assert_refused(ran, "model: round is 3, but there is no training", tmp_path, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "tf32"}, "precision is 'tf32', which only CUDA devices have, not a CPU; use float32 or bf16"),
        ({"precision": "fp16"}, "config.yaml: precision: Input should be 'float32', 'tf32' or 'bf16' (found 'fp16')"),
        ({"tf32": False}, "config.yaml: tf32: unknown key; write precision: tf32 for true, precision: float32 for f"),
    ],
)
def test_attack_refuses_a_precision_that_it_cannot_have(tmp_path, cache, settings, message):
    cell = write_yaml(tmp_path / "cell.yaml", CELL)
    config = write_yaml(tmp_path / "config.yaml", {"device": "cpu", "cache": str(cache), **settings})
    before = sorted(tmp_path.rglob("*"))
    ran = gradleak("attack", cell, "--out", tmp_path / "out", "--config", config)
    assert_refused(ran, message, tmp_path, before)


@pytest.mark.parametrize("name", ["tf32", "bf16"])
def test_stages_that_a_gpu_does_not_run_are_in_float32(name, monkeypatch):
    deterministic = torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(device, "_precision", name)
    prepare_cpu(Config(device="cuda", precision=name))
    torch.use_deterministic_algorithms(deterministic)
    assert device.precision() == "float32"


def test_attack_refuses_a_config_that_does_not_exist(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/gradleak").symlink_to(cache)
    cell = write_yaml(tmp_path / "cell.yaml", CELL)
    before = sorted(tmp_path.rglob("*"))
    ran = gradleak("attack", cell, "--out", tmp_path / "out", "--config", tmp_path / "nosuch.yaml")
    assert_refused(ran, "nosuch.yaml", tmp_path, before)


STUDY = {
    "title": "S",
    "defaults": {key: value for key, value in CELL.items() if key != "victims"},
    "experiments": {"one": {"title": "T", "paper": "P", "show": [], "cells": [{}]}},
}
BAD_STUDIES = [
    ({"defualts": {}}, {}, "study.yaml: defualts: unknown key"),
    ({"trials": {"count": 0}}, {}, "study.yaml: trials.count: "),
    ({"trials": {"first": 499}}, {}, "victim index 500: the test split of data set 'photos10' has 500 images"),
    ({"defaults.client.batch_size": 5}, {}, "batch_size B is 5, but the client has only N=2 samples"),
    ({"defaults.client.steps": 7}, {}, "steps U is 7, but N=2, B=2, E=1 give U=1"),
    ({"defaults.client.lr": "fast"}, {}, "client.lr: "),
    ({"defaults.attack.name": "gia-x"}, {}, "unknown attack 'gia-x'; known: gia-l, gia-o"),
    ({"defaults.attack.objective": "l1"}, {}, "unknown objective 'l1'; known: cosine, euclidean, layers"),
    ({"defaults.attack.priors": {"x": 1}}, {}, "unknown prior 'x'; known: bn, tv, tv_sum"),
    ({"defaults.attack.knowledge": "wst"}, {}, "needs knowledge level 3, but knowledge_level grants 1"),
    ({"defaults.model.name": "vgg"}, {}, "unknown model 'vgg'; known: "),
    ({}, {"devise": "cpu"}, "config.yaml: devise: unknown key"),
    ({}, {"threads": "two"}, "config.yaml: threads: "),
    (
        {},
        {"data": {"photos10": {"source": "folder", "path": "/no/such"}}},
        "data.photos10.path: '/no/such' does not exist",
    ),
]


@pytest.mark.parametrize(
    ("study", "settings", "message"), BAD_STUDIES, ids=[message[:40] for _, _, message in BAD_STUDIES]
)
def test_plan_refuses_a_bad_study_or_config_with_one_line_and_writes_nothing(tmp_path, cache, study, settings, message):
    config = write_yaml(tmp_path / "config.yaml", {"device": "cpu", "cache": str(cache)} | settings)
    path = write_yaml(tmp_path / "study.yaml", changed(study, STUDY))
    before = sorted(tmp_path.rglob("*"))
    ran = gradleak("plan", "--config", config, "--study", path, "--out", tmp_path / "results/plan.json")
    assert_refused(ran, message, tmp_path, before)


def test_plan_prints_a_summary_and_writes_the_plan_the_same_each_time(tmp_path, config):
    from gradleak.study.plan import Plan

    study = write_yaml(tmp_path / "study.yaml", STUDY)
    for name in ("a.json", "b.json"):
        ran = gradleak("plan", "--config", config, "--study", study, "--out", tmp_path / name)
        assert ran.code == 0, ran.err
        assert (
            "1 cells (2 trials in 1 families), 1 checkpoints, 0 federated trainings, 0 auxiliary models, 1 attack jobs"
            in " ".join(ran.out.split())
        )
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert len(Plan.read(tmp_path / "a.json").cells) == 1


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("update", ["--batch", "x", "--checkpoints", "."], "plan.json: cannot be read"),
        ("checkpoint", ["--checkpoint", "x"], "plan.json: cannot be read"),
        ("reconstruct", ["--batch", "x", "--checkpoints", ".", "--updates", "u"], "plan.json: cannot be read"),
        ("score", ["--batch", "x", "--reconstructions", "r", "--images", "i"], "plan.json: cannot be read"),
    ],
)
def test_stages_without_a_plan_say_which_file_is_missing(tmp_path, command, options, message):
    ran = gradleak(command, "--plan", tmp_path / "plan.json", *options, "--out", tmp_path / "out")
    assert_refused(ran, message, tmp_path, [])


def test_an_unknown_batch_or_checkpoint_is_refused(tmp_path, config):
    study = write_yaml(tmp_path / "study.yaml", STUDY)
    plan = tmp_path / "plan.json"
    gradleak("plan", "--config", config, "--study", study, "--out", plan)
    before = sorted(tmp_path.rglob("*"))
    ran = gradleak("update", "--plan", plan, "--batch", "x", "--checkpoints", tmp_path, "--out", tmp_path / "out")
    assert_refused(ran, "batch 'x' is not in the plan", tmp_path, before)
    ran = gradleak("checkpoint", "--plan", plan, "--checkpoint", "x", "--out", tmp_path / "out")
    assert_refused(ran, "--checkpoint: 'x' is not in", tmp_path, before)


def test_a_former_name_of_a_command_works_and_says_so(tmp_path):
    ran = gradleak("train", "--plan", tmp_path / "plan.json", "--checkpoint", "x", "--out", tmp_path / "out")
    first, second = ran.err.splitlines()
    assert first == "gradleak: the command 'train' is now 'checkpoint'; the old name goes with version 0.2"
    assert "plan.json: cannot be read" in second
    assert "\n  train " not in gradleak("--help").out
