"""What a person sees of a run, from records as Snakemake logs them: with a terminal, without one, and in a dry run."""

import io
import logging
import os
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from gradleak.pipeline.progress import Job, Work
from gradleak.pipeline.screen import Screen, last_lines, repeated

JOBS = {1: Job("reconstruct_batch", "ab"), 2: Job("score_batch", "ab"), 3: Job("figures", "")}
WORK = Work("mine", dict.fromkeys(JOBS.values(), 5.0), {"one": "An experiment", "two": "Another"}, {"one": ["ab"]})


def record(text="", level=logging.INFO, at=0.0, **more):
    found = logging.LogRecord("snakemake", level, "", 0, text, None, None)
    found.__dict__.update(more, created=at)
    return found


def started(number):
    job = JOBS[number]
    wildcards = {"batch": job.id} if job.id else {}
    return record(event=LogEvent.JOB_INFO, jobid=number, rule_name=job.rule, wildcards=wildcards)


def finished(number, at=0.0):
    return record("Finished jobid", event=LogEvent.JOB_FINISHED, job_id=number, at=at)


def failed(number, command="gradleak x > a.log 2>&1", logs=()):
    more = {"jobid": number, "rule_name": JOBS[number].rule, "log": list(logs), "shellcmd": command}
    return record("Error in rule", logging.ERROR, event=LogEvent.JOB_ERROR, **more)


BEGUN = [
    record("Workflow has started!", event=LogEvent.WORKFLOW_STARTED),
    record("Building DAG of jobs..."),
    record("The run's plan: x", work=WORK, log_file=os.path.join(os.getcwd(), "log/1.log")),
]


def seen(*records, live=False):
    """What a screen writes for some records, and the texts that it passes on."""
    out, passed = io.StringIO(), []
    console = Console(file=out, force_terminal=live, width=100, color_system=None)
    screen = Screen(console, lambda one: passed.append(one.getMessage()), live)
    for one in records:
        screen.take(one)
    screen.close()
    return out.getvalue(), passed


def test_a_run_has_a_line_per_experiment_and_tenth_and_names_the_log_once():
    jobs = [step for number in JOBS for step in (started(number), finished(number, at=10.0 * number))]
    text, passed = seen(*BEGUN, *jobs)
    assert text.splitlines() == [
        "study mine: 3 jobs for 2 experiments",
        "Snakemake's own log: log/1.log",
        "[0:00:10] 1 of 3 jobs, 0 of 2 experiments, about 20 s left",
        "[0:00:20] experiment one is finished (1 of 2): An experiment",
        "[0:00:20] 2 of 3 jobs, 1 of 2 experiments, about 10 s left",
        "[0:00:30] 3 of 3 jobs are done",
    ]
    assert passed == []


def test_before_a_run_begins_all_is_snakemakes():
    first = [record("Unlocked working directory."), record("lock", logging.ERROR, event=LogEvent.ERROR)]
    assert seen(*first) == ("", ["Unlocked working directory.", "lock"])


def test_in_a_run_errors_and_warnings_are_snakemakes_and_the_rest_is_left_to_its_log():
    told = [record("Nothing to be done (all...).")]
    told += [record("WorkflowError:\nsome", logging.ERROR, event=LogEvent.ERROR), record("late", logging.WARNING)]
    untold = [record("Select jobs to execute..."), record("shell", event=LogEvent.SHELLCMD)]
    untold.append(record('RuleException:\nCalledProcessError in file "x"', logging.ERROR, event=LogEvent.ERROR))
    text, passed = seen(*BEGUN[:1], *told, *untold)
    assert (text, passed) == ("", ["Nothing to be done (all...).", "WorkflowError:\nsome", "late"])


def test_a_job_that_fails_shows_its_last_lines_and_what_repeats_it(tmp_path):
    log = tmp_path / "job.log"
    log.write_text("".join(f"line {number}\n" for number in range(40)))
    command = f"exec gradleak reconstruct --out 'a b' 2> '{log}'"
    empty, cluster = tmp_path / "empty.log", tmp_path / "cluster.log"
    text, _ = seen(*BEGUN, started(1), failed(1, command, [empty, log, cluster]))
    lines = text.splitlines()[2:]
    assert lines[0] == "failed: reconstruct_batch ab, needed by one"
    assert lines[1:3] == [f"  nothing in {empty}", f"  last lines of {log}"]
    assert lines[3:18] == [f"    line {number}" for number in range(25, 40)]
    assert lines[18] == f"  see also {cluster}"
    assert lines[19].endswith("gradleak reconstruct --out 'a b'")
    assert lines[19].startswith("  this job again: ")
    assert len(lines) == 20


def test_jobs_that_the_user_stops_have_not_failed():
    stop = record("Terminating processes on user request, this might take some time.")
    text, passed = seen(*BEGUN, started(1), stop, failed(1))
    assert "failed" not in text
    assert len(passed) == 1


def test_a_bar_is_redrawn_on_a_terminal_alone_and_leaves_it_as_it_was():
    jobs = [started(1), finished(1)]
    text, _ = seen(*BEGUN, *jobs, live=True)
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again
    assert text.rstrip().endswith("\x1b[2K")  # and the bar erased
    assert "1 of 3 jobs, 0 of 2 experiments" in text
    assert "\x1b" not in seen(*BEGUN, *jobs)[0]


def test_last_lines_of_what_is_no_log(tmp_path):
    (tmp_path / "long").write_bytes(b"\xff" * 100_000 + b"\nend\n")
    assert last_lines(tmp_path / "long")[-1] == "end"
    assert last_lines(tmp_path) == last_lines(tmp_path / "nosuch") == []


@pytest.mark.parametrize(
    "command", ["gradleak x 2> a.log", "gradleak x > 'a b.log' 2>&1", "exec gradleak x 2> a.log ", "gradleak x"]
)
def test_a_command_to_repeat_writes_to_the_terminal_and_has_its_path(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert repeated(command) == "gradleak x"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gradleak").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert repeated(command) == "bin/gradleak x"


def plugin(**settings):
    names = ("dryrun", "verbose", "debug_dag", "printshellcmds", "quiet", "nocolor", "stdout", "show_failed_logs")
    common = SimpleNamespace(**dict.fromkeys(names, False) | settings)
    return LoggerPluginRegistry().get_plugin("gradleak").log_handler(common, None)


def test_snakemake_finds_the_plugin_and_it_shows_the_run(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    handler = plugin(quiet=None)
    for one in [*BEGUN, record("an error", logging.ERROR)]:
        handler.handle(one)
    handler.close()
    assert [line.split(":")[0] for line in sys.stderr.getvalue().splitlines()] == [
        *("study mine", "Snakemake's own log", "an error")
    ]


@pytest.mark.parametrize("asked", ["dryrun", "verbose", "printshellcmds"])
def test_dry_runs_and_whoever_asks_for_more_get_snakemakes_own_lines(monkeypatch, asked):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    handler = plugin(quiet=[], **{asked: True})
    for one in BEGUN[1:]:
        handler.handle(one)
    handler.close()
    assert sys.stderr.getvalue().splitlines() == ["Building DAG of jobs...", "The run's plan: x"]
