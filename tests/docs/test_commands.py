"""Every command in README and docs works, and one that no rule of `rules.RULES` covers fails."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from pages import Command, commands
from place import Place
from rules import CI, run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    return Place(tmp_path_factory.mktemp("docs"), cache)


@pytest.mark.parametrize("command", list({command.text: command for command in commands()}.values()), ids=str)
def test_a_command_works(place: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    run(place, command)


@pytest.mark.parametrize(
    "text",
    [
        "gradleak plan --studdy quick",
        "gradleak claims --result results/quick/results.parquet --plan results/quick/plan.json --out x",
        "gradleak tune workflow/searches/nosuch.yaml --out tuned.yaml",
        "gradleak nosuch",
        "snakemake --profile nosuch",
        "snakemake --config study=nosuch",
        "snakemake --config devise=cuda",
        "snakemake --coress all",
        "make nosuch",
        "python tests/benchmarks/igsa.py --sampels 3",
        "python -m gradleak.nosuch",
        "apt-get install nosuch",
        "curl example.org",
    ],
)
def test_a_misspelt_command_fails(place: Place, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    with pytest.raises((AssertionError, SystemExit, ValueError)), contextlib.redirect_stderr(io.StringIO()):
        run(place, Command("here", text))


def test_ci_runs_the_tests_and_the_checks() -> None:
    assert {"make check", "make test"} <= set(re.findall(r"^make .*$", CI, re.MULTILINE))
    assert Command("README.md", "make test") in commands()
