"""The plan file of a study's folder: written by the run that owns it, and never changed under a run that goes on."""

import fcntl
import json
import os
from pathlib import Path

from gradleak.errors import UserError
from gradleak.files import write_text
from gradleak.study.expand import study_path
from gradleak.study.outline import Outline
from gradleak.study.plan import Plan
from gradleak.study.reused import MANIFEST, PLAN, check_fingerprint

LOCK = ".plan.lock"
_held: dict[Path, int] = {}  # by folder: open until this process ends, however it ends, and with that its lock


def check_folder(plan: Plan, folder: Path) -> None:
    """Check that a folder can hold a plan's results. Changes nothing.

    Raises UserError for the folder of an archive, which a run would overwrite, for one that holds the results of
    another study file of the same name, and for data sets there that reused cells were not computed on.
    """
    if (folder / MANIFEST).exists():
        raise UserError(
            f"{folder} holds archived results, which a run of study '{plan.study}' would overwrite; "
            "give the run another name: run: NAME in config.yaml"
        )
    before = former_plan(folder)
    if before is not None and _other_study(str(before.config.get("study", "")), plan.config.study):
        raise UserError(
            f"{folder} holds the results of {study_path(before.config['study'])}, another study of the same name; "
            f"give the run another name (run: NAME in config.yaml), or remove {folder}"
        )
    for record in sorted((folder / "data").glob("*.json")) if plan.reused else []:
        content = json.loads(record.read_text(encoding="utf-8"))
        check_fingerprint(plan.reused, content["name"], content["fingerprint"])


def former_plan(folder: Path) -> Outline | None:
    """The plan that a folder has, or None if it has none that can be read: the next run writes it anew."""
    try:
        return Outline.read(folder / PLAN)
    except UserError:
        return None


def own_plan(plan: Plan, folder: Path) -> bool:
    """Write `plan.json` to a folder if what is there differs; until this process ends nobody else can change it.

    Returns whether no other run goes on there. Runs with the same plan go on beside each other. Raises UserError where
    one with another plan goes on. On a file system without locks there is no such check beyond Snakemake's own.
    """
    path, text = folder / PLAN, plan.text()
    folder.mkdir(parents=True, exist_ok=True)
    owned = folder.resolve()
    if owned not in _held:
        _held[owned] = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    alone = _locked(_held[owned], fcntl.LOCK_EX)
    if alone and not _holds(path, text):
        write_text(path, text)
    # The system gives up one lock before it takes the other.
    if not _locked(_held[owned], fcntl.LOCK_SH) or not _holds(path, text):
        raise UserError(
            f"another run of study '{plan.study}' goes on here with other settings; wait for its end, or give this one "
            "another name: run: NAME in config.yaml"
        )
    return alone


def _locked(handle: int, kind: int) -> bool:
    """Take a lock without waiting. Returns whether it is ours; where the file system has no locks, it always is."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def _other_study(before: str, now: str) -> bool:
    """Whether two names or paths of studies lead to files that are both there and differ."""
    try:
        paths = [study_path(before), study_path(now)]
        return not paths[0].samefile(paths[1]) and paths[0].read_bytes() != paths[1].read_bytes()
    except (UserError, OSError):
        return False
