"""The progress of a study, read from its plan, its files, and the records that Snakemake keeps in `.snakemake`."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table

from gradleak.pipeline.jobs import gpu_job, reused_lines
from gradleak.pipeline.stages import RULES, STAGES
from gradleak.study.plan import Plan

_SHOWN = 5


@dataclass(frozen=True)
class RuleStatus:
    """The jobs of a rule by what is known of them, as ids in the plan.

    `started`: Snakemake has submitted or begun it. It runs, waits in a scheduler's queue, or was cut off with its run.
    `failed`: it wrote a log and no result, and nothing of it is under way. The next run takes it up again.
    """

    rule: str
    done: list[str]
    started: list[str]
    failed: list[str]
    waiting: list[str]


def study_status(plan: Plan, results: Path, records: Path) -> list[RuleStatus]:
    """State of every rule's jobs; `results` is the study's folder, `records` Snakemake's (`.snakemake`).

    A result counts as done whatever has changed since: `snakemake --dry-run` tells what would be computed again.
    """
    under_way = set(_incomplete(records))
    found = []
    for stage in STAGES:
        if stage.local or stage.temporary or not stage.output:  # what is temporary tells nothing
            continue
        status, names = RuleStatus(stage.rule, [], [], [], []), stage.ids(plan)
        for name in names:
            out = results / stage.output.format(name)
            if str(out) in under_way:
                status.started.append(name)
            elif out.exists():
                status.done.append(name)
            elif _log(results, stage.rule, name).exists():
                status.failed.append(name)
            else:
                status.waiting.append(name)
        if names:
            found.append(status)
    return found


def status_summary(plan: Plan, results: Path, records: Path) -> Group:
    """The state of a study's jobs for the terminal: a table, how long it will take, and logs of what failed."""
    states = study_status(plan, results, records)
    table = Table(title=f"study {plan.study}", box=None, title_justify="left")
    for column in ("rule", "done", "started", "failed", "waiting"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for state in states:
        counts = (state.done, state.started, state.failed, state.waiting)
        table.add_row(state.rule, *(str(len(names)) for names in counts))
    lines = [*reused_lines(plan), _remaining(plan, results, states)]
    failed = [_log(results, state.rule, name) for state in states for name in state.failed]
    lines += [f"failed: {path}" for path in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"failed: {len(failed) - _SHOWN} more")
    return Group(table, *lines)


def _remaining(plan: Plan, results: Path, states: list[RuleStatus]) -> str:
    """The time that the jobs with a GPU will take, at the pace of those that are done."""
    estimated = measured = left = 0.0
    at_once = 0
    for state in states:
        if not RULES[state.rule].gpu:
            continue
        for name in state.done:
            if (seconds := _seconds(results / RULES[state.rule].output.format(name))) is not None:
                measured += seconds
                estimated += gpu_job(plan, state.rule, name).seconds
        left += sum(gpu_job(plan, state.rule, name).seconds for name in state.started + state.failed + state.waiting)
        at_once += len(state.started)
    if not left:
        return "all attacks and trainings are done"
    pace = measured / estimated if estimated else 1.0
    basis = f"{pace:.2f} times the estimate, as those done" if estimated else "as estimated"
    line = f"attacks and trainings left: about {left * pace / 3600:.2f} hours of jobs ({basis})"
    return line + (f", {left * pace / 3600 / at_once:.2f} hours with {at_once} at once" if at_once else "")


def _seconds(out: Path) -> float | None:
    """The seconds that a result took by its provenance, or None if it does not say."""
    try:
        content = json.loads(out.with_name(out.name + ".provenance.json").read_text(encoding="utf-8"))
        return float(content["seconds"])
    except (OSError, ValueError, KeyError):
        return None


def _log(results: Path, rule: str, name: str) -> Path:
    return results / "logs" / rule / f"{name}.log"


def _incomplete(records: Path) -> Iterator[str]:
    """Files whose job Snakemake has started and not finished: it keeps a mark for each, named by the file's path."""
    folder = records / "incomplete"
    for mark in folder.rglob("*"):
        name = "".join(part.removeprefix("@") for part in mark.relative_to(folder).parts)
        if mark.is_file():
            try:
                yield base64.urlsafe_b64decode(name).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
