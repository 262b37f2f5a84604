"""How far a run is: which experiments are finished, and how long the rest takes at the pace of what is done.

An experiment is finished when the last batch that holds a cell of it is scored. Time is in seconds of one clock.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gradleak.pipeline.stages import RULES


class Job(NamedTuple):
    """A job: its rule, by its name in the table of stages if it is there, and the id of what it computes."""

    rule: str
    id: str

    @classmethod
    def of(cls, rule: str, wildcards: Mapping[str, str]) -> "Job":
        """The job of one of Snakemake's rules: of several wildcards, the last is the id.

        A rule of one training has the id behind its name.
        """
        stage = next((known for known in RULES if rule.startswith(f"{known}_") and rule not in RULES), rule)
        own = rule.removeprefix(stage).removeprefix("_")
        return cls(stage, own or ["", *wildcards.values()][-1])


@dataclass(frozen=True)
class Work:
    """What a run has to do.

    seconds: estimate of each of its jobs, above 0. titles: of the experiments that it can finish or that are finished,
    by name. waits: of each, the batches that have yet to be scored; none for one that is finished.
    """

    study: str
    seconds: Mapping[Job, float]
    titles: Mapping[str, str]
    waits: Mapping[str, Collection[str]]


class Progress:
    """The state of a run that began at a time."""

    def __init__(self, work: Work, begun: float) -> None:
        self.work = work
        self.begun = begun
        self.finished = [name for name, batches in work.waits.items() if not batches]
        self._done: set[Job] = set()
        self._failed: set[Job] = set()
        self._running: dict[Job, float] = {}
        self._measured: defaultdict[str, float] = defaultdict(float)  # seconds by rule, of the jobs that are done
        self._estimated: defaultdict[str, float] = defaultdict(float)  # what the plan said of them

    @property
    def done(self) -> int:
        """Number of jobs that are done."""
        return len(self._done)

    def start(self, job: Job, now: float) -> None:
        """A job begins, or is submitted; one that failed begins again."""
        self._failed.discard(job)
        self._running[job] = now

    def fail(self, job: Job) -> None:
        """A job failed: it counts as neither done nor left."""
        self._running.pop(job, None)
        self._failed.add(job)

    def finish(self, job: Job, now: float) -> list[str]:
        """A job is done. Returns the experiments that are finished with it."""
        self._done.add(job)
        self._measured[job.rule] += now - self._running.pop(job, now)
        self._estimated[job.rule] += self.work.seconds.get(job, 0.0)
        if job.rule != "score_batch":
            return []
        found = [name for name in self.of(job) if name not in self.finished and self._scored(name)]
        self.finished += found
        return found

    def of(self, job: Job) -> list[str]:
        """The experiments that wait for what a job of a batch computes."""
        return [name for name, batches in self.work.waits.items() if job.id in batches]

    def _scored(self, experiment: str) -> bool:
        return all(Job("score_batch", batch) in self._done for batch in self.work.waits[experiment])

    def seconds_left(self, now: float) -> float:
        """Estimated seconds until all jobs are done that have not failed.

        The plan's estimates are corrected by what those of the same rule took, or all where none is done. As many jobs
        run at once as did so far, on average.
        """
        left = 0.0
        for job, seconds in self.work.seconds.items():
            if job not in self._done and job not in self._failed:
                begun = self._running.get(job, now)
                left += max(0.0, seconds * self._pace(job.rule) - (now - begun))
        busy = sum(self._measured.values()) + sum(now - begun for begun in self._running.values())
        at_once = busy / (now - self.begun) if now > self.begun else 1.0
        return left / max(1.0, at_once)

    def _pace(self, rule: str) -> float:
        """Seconds that a job takes per second of its estimate."""
        if self._estimated[rule]:
            return self._measured[rule] / self._estimated[rule]
        total = sum(self._estimated.values())
        return sum(self._measured.values()) / total if total else 1.0


def duration(seconds: float) -> str:
    """A time that is left, in words: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """A time that has passed: `0:02:13`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
