"""The environments: one list of versions, and every recipe installs it."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ENVS = Path(__file__).parents[1] / "envs"


def pins(text: str) -> dict[str, str]:
    """The exact versions in a requirements file, by normalised name."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;#]+)", text, re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in found}


@pytest.fixture
def compiled() -> dict[str, str]:
    return pins((ENVS / "requirements.txt").read_text())


def test_the_compiled_list_pins_everything_that_is_asked_for(compiled):
    text = (ENVS / "requirements.in").read_text()
    for name, number in pins(text).items():
        assert compiled[name] == number
    wanted = re.findall(r"^([A-Za-z0-9_.-]+)", text, re.M)
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in wanted} <= compiled.keys()


def test_this_environment_has_these_versions(compiled):
    assert {name: version(name).partition("+")[0] for name in compiled} == compiled


def test_the_conda_environment_and_the_container_install_that_list():
    conda = yaml.safe_load((ENVS / "gradleak.yaml").read_text())["dependencies"]
    python = next(entry for entry in conda if str(entry).startswith("python=")).removeprefix("python=")
    (by_pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert by_pip == ["-r requirements.txt", "-e .."]
    assert [entry for entry in conda if isinstance(entry, str)] == [f"python={python}", "pip"]
    recipe = (ENVS / "Containerfile").read_text()
    assert f"FROM docker.io/library/python:{python}-" in recipe
    assert "--requirement /gradleak/envs/requirements.txt" in recipe
    assert len(re.findall("pip install", recipe)) == 2
    assert "--no-deps /gradleak" in recipe
    assert f"CPython {python}" in (ENVS / "requirements.txt").read_text().splitlines()[0]
