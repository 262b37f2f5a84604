"""What a check is, the list of them, and how they are run: a check that fails tells so and stops no other."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradleak.errors import UserError

if TYPE_CHECKING:
    from gradleak.study.config import Config


@dataclass(frozen=True)
class Place:
    """What is looked at: the folder that commands are called in, and its settings."""

    folder: Path
    config: "Config"


@dataclass(frozen=True)
class Finding:
    """What a check found, in words, and the fault if it is one: subject first, then what to do."""

    found: str
    fault: str | None = None


#: Title -> function(place) -> Finding, in the order of the table. Modules are imported when their check is run, so that
#: a package that cannot be imported is a fault of one check.
CHECKS: dict[str, str] = {
    "versions": "software:versions",
    "packages": "software:packages",
    "environment": "software:environment",
    "processor": "machine:processor",
    "GPU": "machine:gpu",
    "precision": "machine:precision",
    "memory": "machine:memory",
    "disk": "machine:disk",
    "data": "study:data",
    "LPIPS": "study:lpips",
    "lock": "study:lock",
    "SLURM": "cluster:slurm",
    "attack": "known_attack:attack",
}


def examine(place: Place, checks: dict[str, str] | None = None) -> Iterator[tuple[str, Finding]]:
    """Yield each check's title with what it found; whatever a check raises is its fault."""
    for title, where in (CHECKS if checks is None else checks).items():
        module, function = where.split(":")
        try:
            yield title, getattr(importlib.import_module(f"gradleak.doctor.{module}"), function)(place)
        except UserError as error:
            yield title, Finding("fault", _line(error))
        except Exception as error:
            yield title, Finding("fault", f"{title}: could not be checked ({type(error).__name__}: {_line(error)})")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
