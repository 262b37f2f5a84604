"""What a run asks of SLURM beside its jobs: to end those of a killed run, and who can answer for the state of jobs."""

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Set
from pathlib import Path

from gradleak.errors import UserError

_GONE_S = 120.0  # SLURM kills what is left of a cancelled job after 30 s, unless a site says otherwise
_ENDING_S = 60.0  # a job whose result is there ends in seconds, unless that is an old one which it makes again
_LOOK_AGAIN_S = 0.5
_LOOKED_AFTER_S = 200  # the plugin looks after three minutes at the latest


def cancel_orphans(folder: Path, results: Mapping[str, Path | None]) -> list[str]:
    """Cancel this user's SLURM jobs in a working folder whose comment is one of `results`. Returns the jobs' ids.

    Snakemake's plugin puts rule and wildcards into a job's comment and cannot follow a job that an earlier run
    submitted. A cancelled attack or training saves its state, and the job that the new run submits goes on from there.
    A job that has written its result is left to end: Snakemake has counted the result as done, and a cancelled job
    takes it back. `results`: the file that a job writes, by comment, or None for one that writes several. Waits until
    the jobs are gone. Does nothing where there is no SLURM. Raises UserError if they do not end, or took back a result
    that was there.
    """
    if shutil.which("squeue") is None:
        return []
    there = [path for path in results.values() if path is not None and path.exists()]
    cancelled: list[str] = []
    begun = time.monotonic()
    while left := _jobs(folder, results.keys()):
        waited = time.monotonic() - begun
        running = {job: comment for job, (state, comment) in left.items() if state in ("R", "CG")}
        spared = {job for job, comment in running.items() if _is_there(results.get(comment))}
        if more := [job for job in left if job not in cancelled and (job not in spared or waited > _ENDING_S)]:
            with contextlib.suppress(UserError):  # of one that has just ended; the next look tells
                _output("scancel", *more)
            cancelled += more
        if waited > _GONE_S:
            raise UserError(f"SLURM jobs {', '.join(left)} of an earlier run do not end; cancel them first")
        time.sleep(_LOOK_AGAIN_S)
    if gone := [str(path) for path in there if not path.exists()]:
        raise UserError(f"jobs of an earlier run took back {', '.join(gone)} as they ended; run the command again")
    return cancelled


def _is_there(path: Path | None) -> bool:
    return path is not None and path.exists()


def status_command() -> tuple[str, str]:
    """The command that can say what became of jobs: `sacct`, or `squeue` and why it is not `sacct`.

    Snakemake's plugin asks `sacct` wherever that is installed, and waits for ever where the cluster keeps no accounts.
    Raises UserError where nothing can answer: the controller forgets a job sooner after its end (`MinJobAge`) than the
    plugin may look again.
    """
    try:
        _output("sacct", "--noheader", "--starttime", "now")
    except UserError as error:
        kept = re.search(r"^MinJobAge\s*=\s*(\d+)", _output("scontrol", "show", "config"), re.M)
        if kept is not None and int(kept[1]) < _LOOKED_AFTER_S:
            raise UserError(
                f"SLURM: the cluster keeps no accounts (sacct) and forgets jobs {kept[1]} s after their end, before "
                f"Snakemake looks again; ask for MinJobAge={_LOOKED_AFTER_S} or more in slurm.conf, or for accounting"
            ) from None
        return "squeue", str(error)
    return "sacct", ""


def _jobs(folder: Path, comments: Set[str]) -> dict[str, tuple[str, str]]:
    """State and comment of the jobs in a folder whose comment is one of `comments`, by the job's id."""
    rows = _output("squeue", "--me", "--array", "--noheader", "--format=%i|%t|%Z|%k").splitlines()
    found = {}
    for row in rows:
        job, state, where, comment = row.split("|", 3)
        if Path(where) == folder and comment in comments:
            found[job] = (state, comment)
    return found


def _output(*command: str) -> str:
    try:
        # Fixed words and the ids of jobs that SLURM itself gave, without a shell.
        done = subprocess.run(command, capture_output=True, errors="replace", timeout=60, check=True)  # noqa: S603
        return done.stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        raise UserError(f"{command[0]}: {reason}") from None
