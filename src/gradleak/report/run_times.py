"""Run times and memory per rule, from Snakemake's benchmark files, or from an archive."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradleak.errors import UserError
from gradleak.pipeline.stages import FORMER_RULES
from gradleak.report.read import is_number, read_csv
from gradleak.report.records import archived_jobs


@dataclass(frozen=True)
class RuleTime:
    """The cost of the jobs of a rule: seconds of wall time and of CPU time, and the most memory of one (MiB).

    memory, cpu: None where Snakemake could not measure any job. share: of all rules' wall time.
    """

    rule: str
    jobs: int
    total: float
    longest: float
    cpu: float | None
    memory: float | None
    share: float

    @property
    def mean(self) -> float:
        """Mean seconds of a job."""
        return self.total / self.jobs


def run_times(study: Path) -> list[RuleTime]:
    """One entry per folder of a study's `benchmarks/`, or rule of an archive, longest first. Empty without either.

    Raises UserError for a file that is no benchmark.
    """
    found = {path.name: list(_jobs(path)) for path in sorted((study / "benchmarks").glob("*")) if path.is_dir()}
    for former, rule in FORMER_RULES.items():
        if former in found:  # of a run when the rule had another name
            found[rule] = found.get(rule) or found[former]
            del found[former]
    if not found:
        found = {
            rule: [(float(job["seconds"]), None, None) for job in jobs] for rule, jobs in archived_jobs(study).items()
        }
    whole = sum(seconds for jobs in found.values() for seconds, _, _ in jobs)
    rows = []
    for rule, jobs in found.items():
        if not jobs:
            continue
        seconds = [job[0] for job in jobs]
        cpu = [job[1] for job in jobs if job[1] is not None]
        memory = [job[2] for job in jobs if job[2] is not None]
        total = sum(seconds)
        rows.append(
            RuleTime(
                *(rule, len(jobs), total, max(seconds), sum(cpu) if cpu else None, max(memory, default=None)),
                total / whole if whole else 0.0,
            )
        )
    return sorted(rows, key=lambda row: (-row.total, row.rule))


def duration(seconds: float) -> str:
    """Seconds for people: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def _jobs(folder: Path) -> Iterator[tuple[float, float | None, float | None]]:
    """Wall seconds, CPU seconds and MiB of every job. The last two are not there for the shortest ones."""
    for path in sorted(folder.glob("*.tsv")):
        for row in read_csv(path, "make", ("s", "max_rss", "cpu_time"), delimiter="\t"):
            if not is_number(row["s"]):
                raise UserError(f"{path}: s '{row['s']}' is not a number of seconds; remove the file")
            cpu, memory = (float(row[name]) if is_number(row[name]) else None for name in ("cpu_time", "max_rss"))
            yield float(row["s"]), cpu, memory
