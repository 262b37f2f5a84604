"""SLURM, where there is one: that it answers, also for jobs that have ended."""

import os
import shutil
import subprocess
from pathlib import Path

from gradleak.doctor.base import Finding, Place
from gradleak.pipeline.slurm import status_command

_PATIENCE_S = 5
_USUAL = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))


def slurm(place: Place) -> Finding:
    """Whether SLURM is there and answers."""
    if shutil.which("sbatch") is None:
        return Finding("none (not needed)")
    answer, reason = _ask("sinfo", "--noheader", "--format=%P %D %t")
    if reason and not _configured():
        return Finding("installed, no cluster is configured (not needed)")
    if reason:
        return Finding("does not answer", f"SLURM: sinfo fails ({reason}); without it run `make` on this machine alone")
    nodes = f"{len(answer.splitlines())} partition state(s)"
    _, reason = status_command()
    return Finding(f"{nodes}, {'no accounts: squeue is asked' if reason else 'accounts'}")


def _configured() -> bool:
    return "SLURM_CONF" in os.environ or any(path.exists() for path in _USUAL)


def _ask(*command: str) -> tuple[str, str]:
    """What a command answers, and why it failed; the latter is empty where it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)  # noqa: S603
    except FileNotFoundError:
        return "", "is not there"
    except (OSError, subprocess.SubprocessError) as error:
        return "", " ".join(str(error).split())[:160]
    if done.returncode:
        return "", " ".join((done.stderr or f"exit code {done.returncode}").split())[:160]
    return done.stdout, ""
