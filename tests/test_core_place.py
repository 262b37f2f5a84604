"""Whose code runs: that of the folder, or one line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gradleak
from gradleak.errors import UserError
from gradleak.place import check_place

ROOT = Path(__file__).parents[1]
RUNNING = Path(gradleak.__file__).parent


@pytest.fixture
def copy(tmp_path):
    """A copied checkout: its code, and the environment of the original."""
    for part in ("src/gradleak", "workflow/rules/common.smk", "Snakefile", "config.yaml"):
        source, target = ROOT / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def test_the_own_checkout_a_link_to_it_and_a_folder_without_code_are_fine(tmp_path):
    check_place(ROOT)
    (tmp_path / "link").symlink_to(ROOT)
    check_place(tmp_path / "link")
    check_place(tmp_path)
    (tmp_path / "src/gradleak").mkdir(parents=True)
    check_place(tmp_path)


def test_the_code_of_another_checkout_is_refused(copy):
    with pytest.raises(UserError, match=rf"^{copy}: has its own code .* runs {RUNNING}; run `make` here"):
        check_place(copy)


@pytest.mark.parametrize("program", ["gradleak", "snakemake", "pytest"])
def test_every_program_says_in_a_copy_whose_code_it_would_run(copy, program):
    (copy / "tests").mkdir()
    shutil.copy(ROOT / "tests/conftest.py", copy / "tests/conftest.py")
    arguments = {"gradleak": ["data", "list"], "snakemake": ["--dry-run", "--cores", "1"], "pytest": ["tests"]}
    ran = subprocess.run(
        [sys.executable, "-m", program, *arguments[program]], cwd=copy, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    said = [line for line in (ran.stdout + ran.stderr).splitlines() if f"{copy}: has its own code" in line]
    assert len(said) == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not (copy / "results").exists()
