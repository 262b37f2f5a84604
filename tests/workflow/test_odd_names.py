"""Folders with names that a shell reads as commands: each word reaches the command that it is meant for."""

import re
import shlex
from pathlib import Path

import pytest
from test_workflow import ROOT, TINY, checkout  # noqa: F401  # the fixture

ODD = "a b'c\";$(touch y)ü"
RULES = [*(ROOT / "workflow/rules").glob("*.smk")]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_placeholder_of_a_shell_command_is_quoted(path):
    commands = re.findall(r"^ +shell:\n((?: +\".*\n)+)", path.read_text(), re.M)
    assert bool(commands) == (path.stem != "common")
    for command in commands:
        placeholders = re.findall(r"\{[^{}]*\}", command)
        assert placeholders
        assert [name for name in placeholders if not name.endswith(":q}")] == []


@pytest.mark.slow
def test_a_study_runs_in_such_a_folder_with_such_a_cache(checkout):  # noqa: F811
    place = checkout(ODD)
    cache = place.folder / f"cache {ODD}"
    cache.mkdir()
    for path in place.cache.glob("*.safetensors"):
        (cache / path.name).symlink_to(path)
    target = "results/tiny/results.parquet"
    command = ["snakemake", target, "--cores", "2", "--printshellcmds", "--config", f"study={TINY}", f"cache={cache}"]
    planned = place.run(*command[:1], "--dry-run", *command[2:])
    assert planned.returncode == 0, planned.stderr[-3000:]
    commands = re.findall(r"^Shell command: (.*)$", planned.stdout, re.M)
    assert len(commands) >= 8
    for line in commands:
        words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
        assert set(words) & set("();&|<") == set(), line
    done = place.run(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not [path for path in (*place.folder.rglob("y"), *place.folder.parent.glob("y"))]


def test_a_cache_with_such_a_name_is_one_argument_of_the_command_that_fetches(checkout):  # noqa: F811
    place = checkout("cache")
    cache = f"x {ODD}/c"
    planned = place.run(
        *("snakemake", "--cores", "1", "--dry-run", "--printshellcmds", "fetch_lpips"),
        *("--config", f"study={TINY}", f"cache={cache}"),
    )
    assert planned.returncode == 0, planned.stderr[-3000:]
    (line,) = re.findall(r"^Shell command: (gradleak data fetch .*)$", planned.stdout, re.M)
    assert shlex.split(line)[:6] == ["gradleak", "data", "fetch", "lpips", "--cache", cache]
    assert not Path(place.folder / "y").exists()
