"""Which SLURM jobs of an earlier run are cancelled, and which may end; squeue and scancel are stand-ins."""

import os
from pathlib import Path

import pytest

from gradleak.errors import UserError
from gradleak.pipeline import slurm
from gradleak.pipeline.slurm import cancel_orphans

# The queue is a folder with a file per job. A job that is not cancelled leaves it as it is looked at the third time.
SQUEUE = """#!/bin/sh
cd "$QUEUE" || exit 1
for job in *; do
  [ -f "$job" ] || continue
  cat "$job"
  echo x >> "../looks_$job"
  [ -e "../stays_$job" ] || [ "$(wc -l < "../looks_$job")" -lt 3 ] || rm "$job"
done
"""
# A cancelled job takes back what it wrote, as Snakemake does with the files of a job that failed.
SCANCEL = """#!/bin/sh
for job; do rm "$QUEUE/$job" && echo "$job" >> "$QUEUE/../cancelled"; rm -f "$QUEUE/../out_$job"; done
"""


class Queue:
    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "queue").mkdir()
        self.results: dict[str, Path] = {}

    def add(self, job: str, state: str, written: bool = False, stays: bool = False, where: str = "/here") -> None:
        comment = f"rule_score_batch_wildcards_{job}"
        (self.place / "queue" / job).write_text(f"{job}|{state}|{where}|{comment}\n")
        self.results[comment] = self.place / f"out_{job}"
        if written:
            self.results[comment].touch()
        if stays:
            (self.place / f"stays_{job}").touch()

    def cancel(self) -> list[str]:
        return cancel_orphans(Path("/here"), self.results)

    @property
    def cancelled(self) -> list[str]:
        log = self.place / "cancelled"
        return log.read_text().split() if log.exists() else []


@pytest.fixture
def queue(tmp_path, monkeypatch):
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    monkeypatch.setattr(slurm, "_LOOK_AGAIN_S", 0.0)
    return Queue(tmp_path)


def test_what_waits_or_runs_is_cancelled(queue):
    queue.add("1", "PD", written=True)  # a job that waits has written nothing: the file is an older one
    queue.add("2", "R")
    queue.add("3", "R", where="/elsewhere")
    with pytest.raises(UserError, match=r"took back .*out_1 as they ended; run the command again"):
        queue.cancel()
    assert queue.cancelled == ["1", "2"]


def test_a_job_that_has_written_its_result_may_end(queue):
    queue.add("1", "R", written=True)
    queue.add("2", "R")
    assert queue.cancel() == ["2"]
    assert queue.cancelled == ["2"]
    assert (queue.place / "out_1").exists()


def test_a_job_that_does_not_end_is_cancelled_whatever_it_has_written(queue, monkeypatch):
    monkeypatch.setattr(slurm, "_ENDING_S", 0.2)
    queue.add("1", "R", written=True, stays=True)
    with pytest.raises(UserError, match="took back"):
        queue.cancel()
    assert queue.cancelled == ["1"]


def test_a_job_that_cannot_be_ended_is_named(queue, monkeypatch):
    monkeypatch.setattr(slurm, "_GONE_S", 0.0)
    queue.add("1", "R", written=True, stays=True)
    with pytest.raises(UserError, match="SLURM jobs 1 of an earlier run do not end"):
        queue.cancel()
