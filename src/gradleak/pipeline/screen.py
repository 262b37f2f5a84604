"""What a person sees of a run: Snakemake's log records in, a line per finished experiment and a bar out.

Errors, warnings, and the few other lines that tell what a run does with itself, stay as Snakemake words them. The rest
is in its log file, whose path is printed once. Without a terminal there is no bar, but a line for each tenth of all
jobs.
"""

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable
from logging import WARNING, LogRecord
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gradleak.pipeline.progress import Job, Progress, Work, clock, duration

# Beginnings of lines that Snakemake logs as mere information.
_TELLING = ("Nothing to be done", "Terminating processes", "Will exit after", "Trying to restart")
_INTERRUPTED = "Terminating processes"
# Of a failed shell command, before the record of its job.
_SAID = "CalledProcessError in file"
_LAST_LINES, _LAST_BYTES = 15, 20_000


class Screen:
    """Shows one run. `pass_on` shows a record as Snakemake does; `live` is whether a bar can be redrawn."""

    def __init__(self, console: Console, pass_on: Callable[[LogRecord], None], live: bool) -> None:
        self._console = console
        self._pass_on = pass_on
        self._live = live
        self._bar: Live | None = None
        self._progress: Progress | None = None
        self._jobs: dict[int, Job] = {}
        self._tenths = 0
        self._begun = self._interrupted = False

    def take(self, record: LogRecord) -> None:
        """Show a record of Snakemake's logger, or what it means for the run."""
        event = getattr(record, "event", None)
        if event == "workflow_started":
            self._begun = True
        elif not self._begun:
            self._pass_on(record)
        elif work := getattr(record, "work", None):
            self._begin(work, record)
        elif event == "job_info":
            self._start(record)
        elif event == "job_finished":
            self._finish(record)
        elif event == "job_error":
            self._fail(record)
        elif self._tells(record):
            if record.getMessage().startswith(_INTERRUPTED):
                self._interrupted = True
                self.close()
            self._pass_on(record)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    @staticmethod
    def _tells(record: LogRecord) -> bool:
        text = record.getMessage()
        return text.startswith(_TELLING) or (record.levelno >= WARNING and _SAID not in text)

    def _begin(self, work: Work, record: LogRecord) -> None:
        self._progress = Progress(work, record.created)
        before = f", {len(self._progress.finished)} of them finished before" if self._progress.finished else ""
        self._say(f"study {work.study}: {len(work.seconds)} jobs for {len(work.titles)} experiments{before}")
        if path := getattr(record, "log_file", None):
            self._say(f"Snakemake's own log: {os.path.relpath(path)}")
        if self._live:
            self._bar = Live(console=self._console, get_renderable=self._line, refresh_per_second=1, transient=True)
            self._bar.start()

    def _start(self, record: LogRecord) -> None:
        found = record.__dict__
        job = self._jobs[found["jobid"]] = Job.of(found["rule_name"], found["wildcards"] or {})
        if self._progress is not None:
            self._progress.start(job, record.created)

    def _finish(self, record: LogRecord) -> None:
        job = self._jobs.get(record.__dict__["job_id"])
        if self._progress is None or job is None:
            return
        at, work = clock(record.created - self._progress.begun), self._progress.work
        before = len(self._progress.finished)
        for number, name in enumerate(self._progress.finish(job, record.created), before + 1):
            count = f"{number} of {len(work.titles)}"
            self._say(f"[{at}] experiment {name} is finished ({count}): {work.titles[name]}", "green")
        total = len(work.seconds)
        if self._progress.done == total:
            self.close()
            self._say(f"[{at}] {total} of {total} jobs are done")
        elif not self._live and (tenths := 10 * self._progress.done // total) > self._tenths:
            self._tenths = tenths
            self._say(f"[{at}] {self._state(record.created)}")

    def _fail(self, record: LogRecord) -> None:
        """The last lines of the job's log, and what repeats it. A job that the user stopped has not failed."""
        if self._interrupted:
            return
        found = record.__dict__
        job = self._jobs.get(found["jobid"], Job(found["rule_name"], ""))
        needed = []
        if self._progress is not None:
            self._progress.fail(job)
            needed = self._progress.of(job)
        self._say(" ".join(["failed:", *job]).rstrip() + (f", needed by {', '.join(needed)}" if needed else ""), "red")
        lines: list[str] = []
        for path in found["log"]:  # the job's own, then a cluster's
            if lines:
                self._say(f"  see also {path}")
                continue
            lines = last_lines(Path(path))
            self._say(f"  {'last lines of' if lines else 'nothing in'} {path}")
            for line in lines:
                self._say(f"    {line}")
        if command := found["shellcmd"]:
            self._say(f"  this job again: {repeated(command)}")

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style), soft_wrap=True)

    def _state(self, now: float) -> str:
        assert self._progress is not None
        work = self._progress.work
        jobs = f"{self._progress.done} of {len(work.seconds)} jobs"
        experiments = f"{len(self._progress.finished)} of {len(work.titles)} experiments"
        return f"{jobs}, {experiments}, about {duration(self._progress.seconds_left(now))} left"

    def _line(self) -> Table:
        assert self._progress is not None
        now = time.time()
        passed, left = now - self._progress.begun, self._progress.seconds_left(now)
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(passed + left or 1.0, passed, width=30), Text(self._state(now)))
        return line


def last_lines(path: Path) -> list[str]:
    """The last lines of a log, at most 15; none of a file that cannot be read or is empty."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            return file.read().decode(errors="replace").rstrip().splitlines()[-_LAST_LINES:]
    except OSError:
        return []


def repeated(command: str) -> str:
    """A rule's shell command as one types it: its output on the terminal, its program by the path that ran."""
    typed = re.sub(r"\s2?>\s*('[^']*'|\S+)(\s+2>&1)?\s*$", "", command.strip()).removeprefix("exec ")
    program, _, rest = typed.partition(" ")
    found = shutil.which(program)
    if found and Path(found).is_relative_to(Path.cwd()):
        program = shlex.quote(str(Path(found).relative_to(Path.cwd())))
    return f"{program} {rest}".rstrip()
