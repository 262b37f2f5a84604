"""Archives of somebody else: `gradleak verify --cells 0` refuses each of these in one line, and runs nothing of it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from archive_cases import planned
from core_cases import gradleak

from gradleak.archive.provenance import Environment, Job, sum_up
from gradleak.files import sha256
from gradleak.parquet import write_parquet
from gradleak.study.reused import FILES, MANIFEST, PLAN, PROVENANCE, RESULTS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a study whose results are invented."""
    folder = tmp_path_factory.mktemp("archive") / "made"
    plan = planned(folder, Path("nowhere"))
    place = Environment(device="cpu", cpu=None, python="3.11", platform="p", versions={}, commit=None)
    job = Job(environment=0, seconds=1.0, finished="2026-01-01T00:00:00Z")
    jobs = {"reconstruct": dict.fromkeys(plan.batches, job)}
    rows = [
        {"cell_id": name, "restart": 0, "chosen": True, "position": position, "image": image, "label": 0}
        | {**cell.factors(), "objective": 0.1, "iterations": 30, "lpips": 0.2, "psnr": 20.0, "mse": 0.01, "ssim": 0.5}
        for name, cell in plan.cells.items()
        for position, image in enumerate(cell.victims)
    ]
    plan.write(folder / PLAN)
    write_parquet(pd.DataFrame(rows), folder / RESULTS)
    (folder / PROVENANCE).write_text(sum_up(plan, len(rows), {}, [], [place], jobs).text())
    sign(folder)
    return folder


def sign(folder: Path) -> None:
    (folder / MANIFEST).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in FILES))


def change(name: str, how: Callable[[Any], None]) -> Callable[[Path], None]:
    """Edit a JSON file of an archive, and sign the archive anew."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        how(content)
        (folder / name).write_text(json.dumps(content))
        sign(folder)

    return edit


def results(how: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    """Edit the results of an archive, and sign the archive anew."""

    def edit(folder: Path) -> None:
        write_parquet(how(pd.read_parquet(folder / RESULTS)), folder / RESULTS)
        sign(folder)

    return edit


def text(name: str, content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(content)
        if name != MANIFEST:
            sign(folder)

    return write


def link(folder: Path) -> None:
    shutil.move(folder / PLAN, folder.parent / "elsewhere.json")
    (folder / PLAN).symlink_to(folder.parent / "elsewhere.json")


def pipe(folder: Path) -> None:
    (folder / PLAN).unlink()
    os.mkfifo(folder / PLAN)


def rename(name: str) -> Callable[[Any], None]:
    return lambda plan: plan["experiments"].update({name: plan["experiments"].pop("fig4b")})


def first(plan: Any) -> dict[str, Any]:
    return next(iter(plan["cells"].values()))


HASH = "0" * 64
# What somebody has done to the archive, and what the line begins with after the folder.
ROWS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a path upwards": (change(PLAN, rename("../../x")), "/plan.json: experiment '../../x': becomes the name of a file"),
    "an absolute path": (change(PLAN, rename("/tmp/x")), "/plan.json: experiment '/tmp/x': becomes the name of a file"),
    "a file of the pipeline": (
        change(PLAN, rename("published")),
        "/plan.json: experiment 'published': the pipeline",
    ),
    "a study's name": (change(PLAN, lambda plan: plan.update(study="../x")), "/plan.json: study '../x': becomes the"),
    "a batch's name": (
        change(PLAN, lambda plan: plan["batches"].update({"../x": next(iter(plan["batches"].values()))})),
        "/plan.json: batch '../x': becomes the name of a file",
    ),
    "another cell": (change(PLAN, lambda plan: first(plan).update(seed=7)), "/plan.json: cell "),
    "a data set": (change(PLAN, lambda plan: first(plan)["dataset"].update(name="x; touch y")), "/plan.json: cell "),
    "an escape": (change(PLAN, lambda plan: plan.update(title="\x1b]0;x\x07")), "/plan.json: title: holds the control"),
    "labels": (
        change(PLAN, lambda plan: plan["experiments"]["fig4b"]["cells"][0].update(labels=[1])),
        "/plan.json: experiment 'fig4b': labels must be a mapping of names to values (found [1])",
    ),
    "batches": (
        change(PLAN, lambda plan: plan.update(batches=[])),
        "/plan.json: not a plan (batches: Input should",
    ),
    "another archive": (
        change(PLAN, lambda plan: plan["config"].update(reuse=["/etc"])),
        "/plan.json: refers to another archive; an archive holds all of its cells itself",
    ),
    "depth": (text(PLAN, "[" * 100_000), "/plan.json: not JSON (nested too deeply); run `gradleak plan`"),
    "no environments": (change(PROVENANCE, lambda one: one.update(environments=[])), "/provenance.json: not the"),
    "seconds": (
        change(PROVENANCE, lambda one: one.update(seconds=float("nan"))),
        "/provenance.json: not the provenance",
    ),
    "a precision": (
        change(PROVENANCE, lambda one: one.update(precision="fp16")),
        "/provenance.json: not the provenance of an archive (precision: Input should be 'float32', 'tf32' or 'bf16'",
    ),
    "a precision of the plan": (
        change(PLAN, lambda plan: plan["config"].update(precision="fp16")),
        "/plan.json: config: precision: Input should be 'float32', 'tf32' or 'bf16' (found 'fp16')",
    ),
    "a former setting that is no truth": (
        change(PROVENANCE, lambda one: one.update(tf32="yes")),
        "/provenance.json: not the provenance of an archive (tf32: ",
    ),
    "no jobs": (change(PROVENANCE, lambda one: one.update(jobs={})), "/provenance.json: names no job of batch "),
    "text for numbers": (
        results(lambda rows: rows.assign(lpips="low")),
        "/results.parquet: column 'lpips' must be",
    ),
    "lists": (results(lambda rows: rows.assign(x=[[1]] * len(rows))), "/results.parquet: column 'x' holds list"),
    "no choice": (results(lambda rows: rows.assign(chosen=None)), "/results.parquet: column 'chosen' must be true or"),
    "a column less": (
        results(lambda rows: rows.drop(columns="objective")),
        "/results.parquet: lacks the column",
    ),
    "a cell less": (results(lambda rows: rows[rows["cell_id"] != rows["cell_id"][0]]), "/results.parquet: cell "),
    "a path in the manifest": (
        text(MANIFEST, f"{HASH}  ../../etc/passwd\n"),
        "/SHA256SUMS: lists '../../etc/passwd'",
    ),
    "nothing in the manifest": (text(MANIFEST, ""), "/SHA256SUMS: does not list plan.json; an archive has"),
    "a link": (link, "/plan.json: is no regular file; an archive holds its files itself"),
    "a pipe": (pipe, "/plan.json: is no regular file; an archive holds its files itself"),
}


@pytest.mark.parametrize("what", ROWS)
def test_a_bad_archive_is_refused_in_one_line(made: Path, tmp_path: Path, what: str) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    do, line = ROWS[what]
    do(folder)
    ran = gradleak("verify", folder, "--cells", 0)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert ran.err.startswith(f"gradleak: {folder}{line}"), ran.err


def test_the_archive_as_it_was_made_is_taken(made: Path) -> None:
    ran = gradleak("verify", made, "--cells", 0)
    assert (ran.code, ran.err) == (0, ""), ran.err


@pytest.mark.parametrize("command", ["tables", "figures", "claims"])
def test_commands_that_draw_a_plan_refuse_it_too(made: Path, tmp_path: Path, command: str) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    ROWS["a path upwards"][0](folder)
    out = tmp_path / "a" / "b" / "out"
    ran = gradleak(command, "--plan", folder / PLAN, "--results", folder / RESULTS, "--out", out)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]
