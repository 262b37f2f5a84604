"""SLURM jobs that a killed Snakemake left behind: they would compute beside those that the next run submits."""

import shutil
import subprocess
import time
from collections.abc import Set
from pathlib import Path

from gradleak.errors import UserError

_GONE_S = 120.0  # SLURM kills what is left of a cancelled job after 30 s, unless a site says otherwise
_LOOK_AGAIN_S = 0.5


def cancel_orphans(folder: Path, ids: Set[str]) -> list[str]:
    """Cancel this user's SLURM jobs in a working folder whose comment names one of `ids`. Returns the jobs' ids.

    Snakemake's plugin puts rule and wildcards into a job's comment and cannot follow a job that an earlier run
    submitted. A cancelled attack or training saves its state, and the job that the new run submits goes on from there.
    Waits until the jobs are gone. Does nothing where there is no SLURM. Raises UserError if they do not end.
    """
    if shutil.which("squeue") is None:
        return []
    found = _jobs(folder, ids)
    if not found:
        return []
    _output("scancel", *found)
    deadline = time.monotonic() + _GONE_S
    while left := _jobs(folder, ids):
        if time.monotonic() > deadline:
            raise UserError(f"SLURM jobs {', '.join(left)} of an earlier run do not end; cancel them first")
        time.sleep(_LOOK_AGAIN_S)
    return found


def _jobs(folder: Path, ids: Set[str]) -> list[str]:
    rows = _output("squeue", "--me", "--array", "--noheader", "--format=%i|%Z|%k").splitlines()
    found = []
    for row in rows:
        job, where, comment = row.split("|", 2)
        if Path(where) == folder and not ids.isdisjoint(comment.split("_")):
            found.append(job)
    return found


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        raise UserError(f"{command[0]}: {reason}") from None
