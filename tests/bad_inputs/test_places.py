"""Places that cannot be used: what the user brings, and the one line that each command gives instead of a traceback."""

import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from core_cases import gradleak

from gradleak.metrics.backbone import SDIST, WEIGHTS

CELL = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1}},
    "client": {"samples": 1},
    "attack": {"name": "gia-o", "descent": {"iterations": 1}},
    "victims": [0],
}
RIGHTS = r"choose another folder, or change its rights"
NO_FOLDER = r"what lies there under the name of a folder is none; choose another path"
ATTACK, SHEET = ("attack", "cell.yaml", "--out"), ("data", "show", "photos10", "--count", "1", "--out")
AS_ROOT = pytest.mark.skipif(os.getuid() == 0, reason="root may do anything")


def scene(folder: Path) -> None:
    """What lies in the folder in which the commands run."""
    (folder / "cell.yaml").write_text(yaml.safe_dump(CELL))
    (folder / "config.yaml").write_text("device: cpu\n")
    (folder / "file").write_text("no folder")
    (folder / "folder").mkdir()
    (folder / "nowhere").symlink_to(folder / "scratch/that/is/gone")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "secret").touch(mode=0o000)
    (folder / "locked").mkdir(mode=0o555)
    (folder / "sdist").mkdir()
    (folder / "sdist" / SDIST).write_bytes(b"another file of this name")
    (folder / "weights").mkdir()
    (folder / "weights" / WEIGHTS).write_bytes(b"half a file")
    (folder / "picture.png").write_bytes(b"")


@contextmanager
def small_files():
    """No file longer than 1 kB: as on a full disk, but for the system's words."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# What the user types -> the line.
TYPED = {
    "a file in place of the output folder": (
        (*ATTACK, "file"),
        rf"file: cannot be written \(File exists\); {NO_FOLDER}",
    ),
    "an output folder below a file": (
        (*ATTACK, "file/a"),
        rf"file/a: cannot be written \(Not a directory\); {NO_FOLDER}",
    ),
    "an output folder behind a dangling link": (
        (*ATTACK, "nowhere/a"),
        rf"nowhere/a: cannot be written \(File exists\); {NO_FOLDER}",
    ),
    "an output folder behind a link to itself": (
        (*ATTACK, "circle/a"),
        r"circle/a: cannot be written \(Too many levels of symbolic links\)",
    ),
    "an output folder whose name is too long": (
        (*ATTACK, "n" * 300),
        r"n{300}: cannot be written \(File name too long\); choose a shorter name",
    ),
    "a folder in place of the output file": (
        (*SHEET, "folder"),
        r"folder: cannot be written \(Is a directory\); a folder has this name; choose another one for the file",
    ),
    "an output file below a file": ((*SHEET, "file/a.png"), rf"file/a\.png: cannot be written \(.+\); {NO_FOLDER}"),
    "a name that is no Unicode": (
        (*ATTACK, "a\udcff"),
        r"'\\udcff': cannot be expressed in utf-8; choose other names, or set PYTHONUTF8=1",
    ),
    "a config whose name is no Unicode": (
        ("plan", "--config", "a\udcff.yaml"),
        r"a\\udcff\.yaml: cannot be read \(No such file or directory\)",
    ),
    "a name that a terminal would obey": (("plan", "--study", "\x1b[2Jx"), r"unknown study '\\x1b\[2Jx'; known: .+"),
    "a folder in place of the config": (
        ("plan", "--config", "folder"),
        r"folder: cannot be read \(it is no regular file\)",
    ),
    "a config behind a link to itself": (
        ("plan", "--config", "circle"),
        r"circle: cannot be read \(Too many levels of symbolic links\)",
    ),
    "a file in place of the cache": (
        ("data", "fetch", "lpips", "--cache", "file"),
        rf"file/{WEIGHTS}: cannot be written \(.+\); {NO_FOLDER}",
    ),
    "another file under the name of the backbone's package": (
        ("data", "fetch", "lpips", "--cache", "sdist"),
        rf"sdist/{SDIST}: SHA-256 is [0-9a-f]{{64}}, must be [0-9a-f]{{64}}",
    ),
    "half a backbone in the cache": (
        ("data", "fetch", "lpips", "--cache", "weights"),
        rf"LPIPS backbone 'weights/{WEIGHTS}' cannot be read \(.+\); delete it and fetch it again",
    ),
    "results that are not there": (
        ("collect", "--plan", "cell.yaml", "--out", "folder/a.parquet", "nosuch.parquet"),
        r"cell\.yaml: not JSON \(.+\); run `gradleak plan`",
    ),
    "an empty picture": (
        ("metrics", "picture.png", "picture.png"),
        r"picture\.png: is empty, so it cannot be read as an image",
    ),
}


def one_line(code: int, err: str, expected: str) -> None:
    assert code == 2
    assert "Traceback" not in err
    assert re.fullmatch(rf"gradleak: {expected}\n", err), err


@pytest.fixture
def place(tmp_path, monkeypatch):
    folder = tmp_path / "place"
    folder.mkdir()
    scene(folder)
    monkeypatch.chdir(folder)
    yield folder
    (folder / "locked").chmod(0o755)


@pytest.mark.parametrize(("typed", "line"), TYPED.values(), ids=TYPED)
def test_what_cannot_be_used_is_one_line_before_anything_is_computed_or_written(place, typed, line):
    before = sorted(place.rglob("*"))
    ran = gradleak(*typed)
    one_line(ran.code, ran.err, line)
    assert ran.out == ""
    assert sorted(place.rglob("*")) == before


@AS_ROOT
@pytest.mark.parametrize("typed", [(*ATTACK, "locked/a"), (*SHEET, "locked/a.png")], ids=["folder", "file"])
def test_a_folder_that_may_not_be_written_is_one_line(place, typed):
    ran = gradleak(*typed)
    one_line(ran.code, ran.err, rf"\S+: cannot be written \(Permission denied\); {RIGHTS}")


def test_a_full_disk_is_one_line_and_leaves_what_was_there(place):
    (place / "sheet.png").write_text("before")
    with small_files():
        ran = gradleak(*SHEET, "sheet.png")
    one_line(ran.code, ran.err, r"sheet\.png: cannot be written \(File too large\); raise the limit .+")
    assert (place / "sheet.png").read_text() == "before"
    assert not list(place.glob(".*.part"))


def test_a_working_directory_that_is_gone_is_one_line(place, monkeypatch):
    monkeypatch.chdir(place / "folder")
    (place / "folder").rmdir()
    ran = gradleak("data", "list")
    one_line(ran.code, ran.err, r"the working directory is gone; change into one that is there")


def test_a_copied_checkout_is_one_line(place):
    (place / "src/gradleak").mkdir(parents=True)
    (place / "src/gradleak/place.py").touch()
    ran = gradleak("data", "list")
    one_line(ran.code, ran.err, r"\S+/place: has its own code in src/gradleak, but .+; run `make` here, .+")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `gradleak` is the command; nothing but its standard error is kept."""
    line = f'set -o pipefail; gradleak() {{ "{sys.executable}" -m gradleak "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", line], env=os.environ | environment, capture_output=True, text=True, check=False
    )


# A line of a shell, settings of the environment -> exit code, the line.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SHELL = {
    "a full device as output": (
        "gradleak attack --example > /dev/full",
        {},
        (2, r"gradleak: a file or the output: cannot be used \(No space left on device\); free some space and .+\n"),
    ),
    "an output that is closed": ("gradleak attack --example >&-", {}, (0, "")),
    "a reader that has gone": ("gradleak attack --example | true", {}, (1, "")),
    "a locale without the letters of a name": (
        "gradleak data show photos10 --out ä.png",
        ASCII,
        (2, r"gradleak: '\\udcc3\\udca4': cannot be expressed in utf-8; choose other names, or set PYTHONUTF8=1\n"),
    ),
}


@pytest.mark.parametrize(("line", "environment", "expected"), SHELL.values(), ids=SHELL)
def test_an_environment_that_lacks_something_is_one_line_or_works(place, line, environment, expected):
    ran = shell(line, **environment)
    assert "Traceback" not in ran.stderr
    assert (ran.returncode, bool(re.fullmatch(expected[1], ran.stderr, re.DOTALL))) == (expected[0], True), ran.stderr


def test_an_interrupt_is_one_line(place, monkeypatch):
    from gradleak import cli

    def interrupted(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli, "invoke", interrupted)
    ran = gradleak("data", "list")
    assert (ran.code, ran.err.strip()) == (130, "gradleak: interrupted")
