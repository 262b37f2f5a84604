"""What users bring to `gradleak doctor`, and to attacks that infer labels, and the one line that they get."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from core_cases import gradleak
from safetensors.torch import save_file

from gradleak.doctor import base, cluster, machine
from gradleak.engine import device
from gradleak.metrics.backbone import WEIGHTS

Patch = pytest.MonkeyPatch


class Row(NamedTuple):
    """What the user brings, the checks that look at it, how the test makes it, and the line."""

    brings: str
    checks: list[str]
    make: Callable[[Path, Patch], None]
    line: str


def config(text: str) -> Callable[[Path, Patch], None]:
    return lambda folder, patch: (folder / "config.yaml").write_text(text)


def config_folder(folder: Path, patch: Patch) -> None:
    (folder / "config.yaml").mkdir()


def cache_file(folder: Path, patch: Patch) -> None:
    (folder / "cache").write_text("")
    config("cache: cache/deeper")(folder, patch)


def full_disk(folder: Path, patch: Patch) -> None:
    patch.setattr(machine.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10**6))


def broken_weights(folder: Path, patch: Patch) -> None:
    (folder / "cache").mkdir()
    (folder / "cache" / WEIGHTS).write_bytes(b"<html>not found</html>")
    config("cache: cache")(folder, patch)


def other_weights(folder: Path, patch: Patch) -> None:
    (folder / "cache").mkdir()
    save_file({"0.weight": torch.zeros(3)}, folder / "cache" / WEIGHTS)
    config("cache: cache")(folder, patch)


def left_lock(folder: Path, patch: Patch) -> None:
    (folder / ".snakemake" / "locks").mkdir(parents=True)
    (folder / ".snakemake" / "locks" / "0.input.lock").write_text("")


def study_of(name: str, data: str) -> Callable[[Path, Patch], None]:
    def make(folder: Path, patch: Patch) -> None:
        cell = {"dataset": {"name": name}, "attack": {"name": "gia-o"}}
        text = {
            "title": "Own",
            "defaults": cell,
            "trials": {"count": 1},
            "experiments": {"one": {"title": "One", "paper": "", "show": [], "cells": [{}]}},
        }
        (folder / "own.yaml").write_text(yaml.safe_dump(text))
        (folder / "empty").mkdir()
        config(f"study: own.yaml\ndata: {data}")(folder, patch)

    return make


def commands(**scripts: str) -> Callable[[Path, Patch], None]:
    """A cluster of shell scripts."""

    def make(folder: Path, patch: Patch) -> None:
        patch.setattr(cluster, "_PATIENCE_S", 0.3)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        (folder / "bin").mkdir()
        for name, script in {"sbatch": "", **scripts}.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / "bin" / name).chmod(0o755)

    return make


def wrong_convolution(folder: Path, patch: Patch) -> None:
    right = torch.nn.Conv2d._conv_forward
    patch.setattr(torch.nn.Conv2d, "_conv_forward", lambda *given: 1.01 * right(*given))


def lost_convolution(folder: Path, patch: Patch) -> None:
    right = torch.nn.Conv2d._conv_forward
    patch.setattr(torch.nn.Conv2d, "_conv_forward", lambda *given: float("nan") * right(*given))


def other_checkout(folder: Path, patch: Patch) -> None:
    (folder / "src" / "gradleak").mkdir(parents=True)


def broken_import(folder: Path, patch: Patch) -> None:
    patch.setitem(__import__("sys").modules, "lpips", None)


def old_cpu(folder: Path, patch: Patch) -> None:
    patch.setattr(device, "_cpu_facts", lambda: {"flags": "fpu avx2"})
    config("{device: cpu, precision: bf16}")(folder, patch)


def little_memory(folder: Path, patch: Patch) -> None:
    patch.setattr(machine, "_container_limit", lambda: 2.0 * 2**30)


def a_defect(folder: Path, patch: Patch) -> None:
    patch.setattr(machine, "_existing", lambda path: 1 / 0)


DOCTOR = [
    Row("a key that there is not", [], config("studdy: quick"), r"config.yaml: studdy: unknown key"),
    Row("a config that is no YAML", [], config("a: [b"), r"config.yaml: not valid YAML .*"),
    Row("a config that is a list", [], config("- a"), r"config.yaml: must hold a mapping .* found list"),
    Row("a config that is empty", [], config(""), r"config.yaml: is empty; must hold a mapping .*"),
    Row("a folder for a config", [], config_folder, r"config.yaml: cannot be read \(it is no regular file\)"),
    Row("a file where the cache is to be", ["disk"], cache_file, r"cache: '.*/cache' is a file, must be a folder; .*"),
    Row("a full disk", ["disk"], full_disk, r"results: 0\.00 GiB free in '.*', needs 1 GiB; make room"),
    Row("more threads than cores", ["processor"], config("threads: 9999"), r"processor: .* lower threads"),
    Row(
        "a GPU asked for", ["GPU"], config("device: cuda"), r"GPU: config.yaml has device 'cuda', but torch sees none.*"
    ),
    Row(
        "a former key", [], config("tf32: true"), r"config.yaml: tf32: unknown key; write precision: tf32 for true, .*"
    ),
    Row("a precision of no name", [], config("precision: fp16"), r"config.yaml: precision: .*'bf16' \(found 'fp16'\)"),
    Row(
        "TF32 on a CPU",
        ["precision"],
        config("{device: cpu, precision: tf32}"),
        r"precision is 'tf32', .* use float32.*",
    ),
    Row("a CPU without bf16", ["precision"], old_cpu, r"precision is 'bf16', but this CPU .*; use float32"),
    Row("a small container", ["memory"], little_memory, r"memory: 2\.0 GiB, jobs need 4 GiB; run fewer at once .*"),
    Row("no LPIPS weights", ["LPIPS"], config("cache: c"), r"LPIPS backbone 'c/.*' is missing; fetch it with `.*`"),
    Row(
        "an error page for weights", ["LPIPS"], broken_weights, r"LPIPS backbone '.*' cannot be read .* fetch it again"
    ),
    Row("other weights", ["LPIPS"], other_weights, r".*: SHA-256 of the weights is \w+, must be \w+"),
    Row("a lock left", ["lock"], left_lock, r"lock: Snakemake's lock is on this folder; .* `make unlock`"),
    Row("a study that there is not", ["data"], config("study: quikc"), r".*quikc.*"),
    Row(
        "data that has moved", ["data"], study_of("own", "{own: {source: folder, path: gone}}"), r"data\.own\.path: .*"
    ),
    Row("an empty folder", ["data"], study_of("own", "{own: {source: parquet, path: empty}}"), r".*empty.*"),
    Row("a set of no name", ["data"], study_of("cifar11", "{}"), r".*unknown data set 'cifar11'; known: .*"),
    Row("SLURM that is down", ["SLURM"], commands(sinfo="echo no >&2; exit 1"), r"SLURM: sinfo fails \(no\); .*"),
    Row("SLURM that hangs", ["SLURM"], commands(sinfo="exec sleep 5"), r"SLURM: sinfo fails \(.*timed out.*\); .*"),
    Row(
        "SLURM that forgets jobs at once",
        ["SLURM"],
        commands(sinfo="echo all 1 idle", sacct="echo disabled >&2; exit 1", scontrol="echo 'MinJobAge = 30 sec'"),
        r"SLURM: .* keeps no accounts .* forgets jobs 30 s after their end, .*; ask for MinJobAge=200 or more .*",
    ),
    Row("a convolution off by 1 %", ["attack"], wrong_convolution, r"attack: .* other numbers \(update is .*\); .*"),
    Row("a convolution of nan", ["attack"], lost_convolution, r"attack: .*"),
    Row(
        "another checkout's code", ["environment"], other_checkout, r"environment: runs the code in .*, not that in .*"
    ),
    Row("a broken package", ["packages"], broken_import, r"lpips: cannot be imported \(.*\); remove .venv .*"),
    Row("a defect of a check", ["disk"], a_defect, r"disk: could not be checked \(ZeroDivisionError: .*\)"),
]


@pytest.mark.parametrize("row", DOCTOR, ids=lambda row: row.brings)
def test_doctor_says_one_line(row: Row, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    row.make(tmp_path, monkeypatch)
    monkeypatch.setattr(base, "CHECKS", {title: base.CHECKS[title] for title in row.checks})
    ran = gradleak("doctor")
    assert ran.code == 1
    assert re.fullmatch(f"gradleak: {row.line}\n", ran.err), ran.err
    assert "Traceback" not in ran.out + ran.err


class Cell(NamedTuple):
    """What of a cell the user sets, and the line."""

    brings: str
    changes: dict[str, object]
    line: str


LABELS = [
    Cell("labels of another word", {"labels": "guessed"}, r".*cell\.yaml: attack\..*labels.*'known' or 'inferred'.*"),
    Cell("wst without its level", {"knowledge": "wst"}, r".*needs knowledge level 3, but knowledge_level grants 1.*"),
    Cell(
        "an update of which clipping leaves nothing",
        {"post_processing": {"name": "clip", "norm": 1e-45}},
        r"(labels cannot be inferred: the update of 'network.fc.bias' is all zero; let .*|.*norm.*)",
    ),
]


@pytest.mark.parametrize("row", LABELS, ids=lambda row: row.brings)
def test_an_attack_that_infers_labels_says_one_line(row: Cell, tmp_path: Path, cache: Path) -> None:
    attack = {"name": "gia-o", "labels": "inferred", "descent": {"iterations": 2}}
    attack |= {key: value for key, value in row.changes.items() if key in ("labels", "knowledge")}
    client = {"samples": 4, "batch_size": 2, "epochs": 2} | row.changes.get("client", {})
    cell = {
        "dataset": {"name": "photos10", "resolution": 16},
        "model": {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1}},
        "client": client,
        "attack": attack,
        "post_processing": row.changes.get("post_processing", "none"),
        "victims": [0, 1, 2, 3],
    }
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(cell))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"cache": str(cache), "device": "cpu"}))
    ran = gradleak("attack", tmp_path / "cell.yaml", "--out", tmp_path / "out", "--config", tmp_path / "config.yaml")
    assert ran.code == 2
    last = ran.err.splitlines()[-1]
    assert re.fullmatch(f"gradleak: {row.line}", last), ran.err
    assert "Traceback" not in ran.out + ran.err
