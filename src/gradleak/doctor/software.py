"""Versions, packages that can be imported, and whether this folder's own code is what runs."""

import importlib
import platform
import sys
from importlib import metadata
from pathlib import Path

import gradleak
from gradleak.doctor.base import Finding, Place
from gradleak.files import software

_LEAST_PYTHON = (3, 11)
_IMPORTED = ("torch", "torchvision", "lpips", "snakemake", "pandas", "pyarrow")


def versions(place: Place) -> Finding:
    """Python, torch, torchvision, snakemake, gradleak and its commit."""
    python = platform.python_version()
    if sys.version_info < _LEAST_PYTHON:
        return Finding(python, f"python: is {python}, must be 3.11 or later; run `make PYTHON=/path/to/python3.11`")
    try:
        facts = software("snakemake")
    except metadata.PackageNotFoundError as error:
        return Finding(python, f"{error.name}: is not installed; run `make` in this folder")
    known = facts["versions"]
    assert isinstance(known, dict)
    names = ("torch", "torchvision", "snakemake", "gradleak")
    listed = [f"python {python}", *(f"{name} {known[name]}" for name in names)]
    return Finding(", ".join([*listed, f"commit {facts['commit'] or 'unknown'}"]))


def packages(place: Place) -> Finding:
    """Whether what the stages import can be imported."""
    from gradleak.compat import prepare_torchvision

    prepare_torchvision()

    for name in _IMPORTED:
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            return Finding(f"{name} fails", f"{name}: cannot be imported ({reason}); remove .venv and run `make`")
    return Finding("can be imported")


def environment(place: Place) -> Finding:
    """Whether the code of this folder runs, and not that of another checkout."""
    running = Path(gradleak.__file__).resolve().parent
    here = place.folder.resolve() / "src" / "gradleak"
    if here.is_dir() and here != running:
        return Finding(
            f"runs {running}",
            f"environment: runs the code in {running}, not that in {here}; remove .venv here and run `make`",
        )
    return Finding(f"runs {running}")
