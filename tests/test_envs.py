"""The environments: one list of versions, and every recipe installs it."""

import importlib.util
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"
STAGES = ("compute", "report")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """The exact versions in a requirements file, by normalised name."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;#]+)", text, re.M)
    return {normalised(name): number for name, number in found}


def by_pip(stage: str) -> dict[str, str]:
    """What the conda environment of a stage installs; everything in it must be pinned."""
    dependencies = yaml.safe_load((ENVS / f"{stage}.yaml").read_text())["dependencies"]
    assert [entry for entry in dependencies if isinstance(entry, str)] == ["python=3.11", "pip"]
    (entry,) = (entry for entry in dependencies if isinstance(entry, dict))
    found = pins("\n".join(entry["pip"]))
    assert len(found) == len(entry["pip"])
    return found


@pytest.fixture
def compiled() -> dict[str, str]:
    return pins((ENVS / "requirements.txt").read_text())


def test_the_compiled_list_pins_everything_that_is_asked_for(compiled):
    text = (ENVS / "requirements.in").read_text()
    for name, number in pins(text).items():
        assert compiled[name] == number
    wanted = re.findall(r"^([A-Za-z0-9_.-]+)", text, re.M)
    assert {normalised(name) for name in wanted} <= compiled.keys()


def test_this_environment_has_these_versions(compiled):
    assert {name: version(name).partition("+")[0] for name in compiled} == compiled


@pytest.mark.parametrize("stage", STAGES)
def test_a_conda_environment_has_the_versions_of_that_list_and_all_that_its_packages_need(stage, compiled):
    found = by_pip(stage)
    assert found == {name: compiled[name] for name in found}
    spec = importlib.util.spec_from_file_location("conda", ENVS / "conda.py")
    conda = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conda)
    assert (ENVS / f"{stage}.yaml").read_text() == conda.environment(stage)
    assert found.keys() == conda.closure(tuple(found)) - {"setuptools"}


def test_only_the_stages_that_compute_have_torch():
    assert by_pip("report").items() < by_pip("compute").items()
    assert {"torch", "lpips", "scikit-image"} <= by_pip("compute").keys() - by_pip("report").keys()


def test_every_rule_names_an_environment_and_each_has_a_script_that_installs_the_package():
    named = [path for rules in (ROOT / "workflow/rules").glob("*.smk") for path in environments(rules)]
    assert set(named) == {f"../../envs/{stage}.yaml" for stage in STAGES}
    for stage in STAGES:
        script = (ENVS / f"{stage}.post-deploy.sh").read_text()
        assert "pip install --quiet --no-deps --editable ." in script


def environments(rules: Path) -> list[str]:
    """The environments that a file's rules name; every rule with a command names one."""
    text = rules.read_text()
    found = re.findall(r'conda:\n\s+"(.*)"', text)
    assert len(found) == len(re.findall(r"^\s+shell:", text, re.M))
    return found


def test_the_container_installs_that_list(compiled):
    recipe = (ENVS / "Containerfile").read_text()
    assert "FROM docker.io/library/python:3.11-" in recipe
    assert "--requirement /gradleak/envs/requirements.txt" in recipe
    assert len(re.findall("pip install", recipe)) == 2
    assert "--no-deps /gradleak" in recipe
    assert not pins(recipe)
    assert "CPython 3.11" in (ENVS / "requirements.txt").read_text().splitlines()[0]
