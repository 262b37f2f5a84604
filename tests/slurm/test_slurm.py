"""A study through `snakemake --profile slurm` on a real SLURM, disturbed in every way that a cluster has."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from slurm_cases import RESULTS, Checkout

from gradleak.pipeline.stages import RULES

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SNAKEMAKE = ("snakemake", "--profile", "slurm")
PATIENCE_S = 240


@dataclass
class Job:
    """A SLURM job as the queue last showed it."""

    id: str
    rule: str
    name: str
    state: str
    limit: str
    asked: str
    restarts: str


@dataclass
class Story:
    """What happened to a study's three attacks, by what was done to each, and all jobs that there were."""

    place: Checkout
    batches: dict[str, str]
    gpus: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    while_drained: dict[str, str] = field(default_factory=dict)
    orphans: set[str] = field(default_factory=set)
    jobs: dict[str, Job] = field(default_factory=dict)

    def attacks(self, kind: str) -> list[Job]:
        """The jobs of one attack, in order."""
        return attacks(self.jobs, self.batches[kind])

    def done(self, job: Job) -> bool:
        """Whether a job wrote its result: it ended well, or the next driver cancelled it before SLURM had seen that."""
        if job.state == "COMPLETED":
            return True
        path = self.place.folder / RESULTS / RULES[job.rule].output.format(job.name)
        record = json.loads(path.with_name(path.name + ".provenance.json").read_text())
        return job.state == "CANCELLED" and job.id == record["slurm_job"]


def attacks(jobs: dict[str, Job], batch: str | None = None) -> list[Job]:
    """The attacks among some jobs, or those of one batch, in order."""
    found = [job for job in jobs.values() if job.rule == "reconstruct_batch" and batch in (None, job.name)]
    return sorted(found, key=lambda job: int(job.id))


class Queue:
    """The cluster's queue, remembered after the jobs have left it."""

    def __init__(self, cluster, place: Checkout) -> None:
        self._cluster, self._place = cluster, place
        self.jobs: dict[str, Job] = {}

    def look(self) -> list[Job]:
        """All jobs of the checkout, ended ones too."""
        columns = "--Format=JobArrayID:|,State:|,TimeLimit:|,tres-per-job:|,RestartCnt:|,WorkDir:|,Comment:"
        for row in self._cluster.run("squeue", "--states=all", "--array", "--noheader", columns).splitlines():
            job, state, limit, asked, restarts, where, comment = (part.strip() for part in row.split("|", 6))
            found = re.fullmatch(r"rule_(\w+?)(?:_wildcards_(\w+))?", comment)
            if where == str(self._place.folder) and found:
                self.jobs[job] = Job(job, found[1], found[2] or "", state, limit, asked, restarts)
        return list(self.jobs.values())

    def state(self, job: str) -> str:
        """State of a job."""
        self.look()
        return self.jobs[job].state

    def running(self, batch: str) -> Job | None:
        """The running attack of a batch."""
        wanted = ("reconstruct_batch", batch, "RUNNING")
        return next((job for job in self.look() if (job.rule, job.name, job.state) == wanted), None)


def wait_for(what, condition, seconds=PATIENCE_S):
    """Wait until a condition gives something, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}")


def process_of(place: Checkout, batch: str) -> int | None:
    """The process that attacks a batch, if it has saved a state."""
    if not list(place.folder.glob(f"{RESULTS}/reconstructions/{batch}.safetensors.state/*/*.safetensors")):
        return None
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            where = (entry / "cwd").resolve()
        except OSError:
            continue
        if b"reconstruct" in words and batch.encode() in words and b"--plan" in words and where == place.folder:
            return int(entry.name)
    return None


def variable(process: int, name: str) -> str:
    """A variable of a process's environment as it was started."""
    content = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return dict(part.decode().partition("=")[::2] for part in content if part)[name]


class Local:
    """The same study beside, on this machine alone as a workstation of two GPUs that are not there.

    It runs in a network namespace that has not even a loopback, where that is permitted.
    """

    def __init__(self, place: Checkout) -> None:
        self.place = place
        unshare = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--net"]
        permitted = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
        self.isolation = unshare if permitted else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start: first what is fetched on a login node, then the rest."""
        fetch = ("snakemake", "--cores", "1", f"{RESULTS}/data/photos10.json")
        rest = (*self.isolation, "snakemake", "--profile", "workflow/profiles/workstation")
        both = f"{shlex.join(fetch)} && exec {shlex.join(rest)}"
        self._process = self.place.start("sh", "-c", both, CUDA_VISIBLE_DEVICES="0,1")

    def finish(self) -> dict[str, bytes]:
        """Its results."""
        if self._process is None:
            self.start()
        assert self._process is not None
        assert self._process.wait(timeout=PATIENCE_S) == 0, self.place.text("out.txt")[-4000:]
        return self.place.results()


@pytest.fixture(scope="module")
def local(checkout):
    return Local(checkout("local"))


@pytest.fixture(scope="module")
def story(cluster, checkout, local):
    """Run the study through the profile and disturb it: what the tests below look at."""
    place = checkout("disturbed")
    queue = Queue(cluster, place)
    driver = place.start(*SNAKEMAKE, log="first.txt", **cluster.env)
    try:
        story = _disturb(cluster, queue, place, local)
    finally:
        driver.kill()
        driver.wait()
        print(place.text("first.txt")[-6000:])
    left = [job for job in queue.look() if job.state in ("PENDING", "RUNNING")]
    story.orphans = {job.id for job in left}
    place.run("snakemake", "--unlock", log="unlock.txt")
    place.run(*SNAKEMAKE, log="second.txt", **cluster.env)
    queue.look()
    story.jobs = queue.jobs
    return story


def _disturb(cluster, queue, place, local) -> Story:
    """Everything that happens to the first driver's jobs; it is killed after that."""

    def submitted():
        queue.look()
        found = attacks(queue.jobs)
        return found if len(found) == 3 else None

    def held(batch):
        # A process that stands still: what is done to it does not depend on how fast this machine is.
        process = wait_for("a saved state", lambda: process_of(place, batch))
        os.kill(process, signal.SIGSTOP)
        return process

    late, asked, cancelled = order = [job.name for job in wait_for("three attacks", submitted)]
    story = Story(place, dict(zip(("late", "asked", "cancelled"), order, strict=True)))

    # Two run at once. One stands still until its time is up; the other is asked to end, as at a pre-emption.
    processes = {name: held(batch) for name, batch in (("late", late), ("asked", asked))}
    story.gpus = {name: variable(process, "CUDA_VISIBLE_DEVICES") for name, process in processes.items()}
    first = queue.running(late)
    cluster.run("scontrol", "update", f"JobId={first.id}", "TimeLimit=1")
    second = queue.running(asked)
    cluster.run("scancel", "--signal=TERM", second.id)
    os.kill(processes["asked"], signal.SIGCONT)
    wait_for("the end of the job", lambda: queue.state(second.id) != "RUNNING")
    story.stopped = place.text(f"{RESULTS}/logs/reconstruct_batch/{asked}.log")

    # The third is cancelled by hand, with the node drained: what waits goes on waiting until it is back.
    held(cancelled)
    cluster.run("scontrol", "update", f"NodeName={cluster.node}", "State=DRAIN", "Reason=test")
    third = queue.running(cancelled)
    cluster.run("scancel", third.id)
    wait_for("the next job of the second attack", lambda: queue.look() and attacks(queue.jobs, asked)[1:])
    wait_for("a free GPU", lambda: queue.state(third.id) == "CANCELLED")
    time.sleep(3)  # the scheduler looks every second
    story.while_drained = {job.name: job.state for job in queue.look() if job.state in ("PENDING", "RUNNING")}
    cluster.run("scontrol", "update", f"NodeName={cluster.node}", "State=RESUME")

    # SLURM requeues what it pre-empts: the same job runs again.
    again = wait_for("the second attack again", lambda: queue.running(asked))
    held(asked)
    cluster.run("scontrol", "requeue", again.id)

    # The driver is killed while the first attack, whose time was up, is running again.
    local.start()
    wait_for("the time limit", lambda: queue.state(first.id) not in ("RUNNING", "COMPLETING"))
    wait_for("the next job of the first attack", lambda: queue.running(late))
    held(late)
    return story


def test_the_disturbed_study_has_the_bytes_of_a_local_run(story, local):
    found, wanted = story.place.results(), local.finish()
    assert sorted(found) == sorted(wanted)
    assert len([name for name in found if "/shards/" in name]) == 3
    assert "paper_figures/study/table1.csv" in found
    for name, content in wanted.items():
        assert found[name] == content, name


def test_jobs_need_no_network(local):
    if not local.isolation:
        pytest.skip("this user may not make a network namespace (unshare --net)")
    local.finish()
    connect = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    probe = subprocess.run(
        [*local.isolation, sys.executable, "-c", connect], capture_output=True, text=True, check=False
    )
    assert "Network is unreachable" in probe.stderr


def test_on_a_workstation_each_job_has_one_gpu(local):
    local.finish()
    files = local.place.folder.glob(f"{RESULTS}/reconstructions/*.provenance.json")
    used = [json.loads(path.read_text())["visible_gpus"] for path in files]
    assert len(used) == 3
    assert set(used) <= {"0", "1"}  # never "0,1", which the machine offers


def test_nothing_is_left_to_do(story, cluster):
    again = story.place.run(*SNAKEMAKE, "--dry-run", log="again.txt", **cluster.env)
    assert "Nothing to be done" in again


def test_attacks_ask_for_a_gpu_each_and_see_their_own(story):
    attacks = [job for job in story.jobs.values() if job.rule == "reconstruct_batch"]
    assert {job.asked for job in attacks} == {"gres:gpu:1"}
    assert {job.asked for job in story.jobs.values() if job.rule != "reconstruct_batch"} == {"N/A"}
    assert sorted(story.gpus.values()) == ["0", "1"]
    files = story.place.folder.glob(f"{RESULTS}/reconstructions/*.provenance.json")
    facts = [json.loads(path.read_text()) for path in files]
    assert len(facts) == 3
    assert {fact["visible_gpus"] for fact in facts} <= {"0", "1"}
    assert {fact["slurm_job"] for fact in facts} <= {job.id for job in attacks}


def test_every_attack_is_finished_once_whatever_happened_to_it(story):
    states = {kind: [job.state for job in story.attacks(kind)] for kind in story.batches}
    for kind, first in [("late", "TIMEOUT"), ("asked", "FAILED"), ("cancelled", "CANCELLED")]:
        assert states[kind][0] == first, states
    for kind in story.batches:
        assert [story.done(job) for job in story.attacks(kind)][-1], (kind, states)
    for rule in ("reconstruct_batch", "compute_updates", "score_batch"):
        jobs = [job for job in story.jobs.values() if job.rule == rule]
        assert sum(story.done(job) for job in jobs) == 3, jobs


def test_attacks_go_on_where_they_were(story):
    for kind in ("late", "asked", "cancelled"):
        log = story.place.text(f"{RESULTS}/logs/reconstruct_batch/{story.batches[kind]}.log")
        begun = int(re.search(r": (\d+) of 600$", log, re.M)[1])
        assert begun > 1, (kind, log)


def test_sigterm_saves_the_state_and_fails_the_job_so_that_snakemake_runs_it_again(story):
    assert re.search(r"stopped by SIGTERM; .*saved at iteration \d+; the same command goes on", story.stopped)


def test_a_job_that_slurm_requeues_goes_on_under_its_id(story):
    assert story.attacks("asked")[1].restarts == "1"


def test_time_limits_grow_on_retry(story):
    first, second = story.attacks("asked")[:2]
    assert (first.limit, second.limit) == ("11:00", "22:00")


def test_a_drained_node_starts_nothing_until_it_is_back(story):
    assert story.while_drained[story.batches["asked"]] == "PENDING"
    assert [name for name, state in story.while_drained.items() if state == "RUNNING"] == [story.batches["late"]]


def test_jobs_that_a_killed_driver_left_are_cancelled_and_submitted_again(story):
    said = re.search(r"Cancelled SLURM jobs of an earlier run: (.*)", story.place.text("second.txt"))
    cancelled = set(said[1].split(", "))
    running = story.attacks("late")[1].id
    assert running in cancelled
    assert story.jobs[running].state == "CANCELLED"
    # What ended by itself between the two drivers, or as it was cancelled, counts.
    assert {story.jobs[job].state for job in story.orphans - cancelled} <= {"COMPLETED"}
    assert {story.jobs[job].state for job in cancelled} <= {"CANCELLED", "COMPLETED"}
