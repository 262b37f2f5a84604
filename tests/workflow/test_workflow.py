"""The whole pipeline on a tiny study: nothing to do the second time, edits, resumed after kill -9.

That two runs give the same bytes is shown on the study `quick`, by test_quick_twice.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = "tests/workflow/tiny.yaml"


@pytest.fixture
def checkout(tmp_path: Path, cache: Path):
    """Return a function that makes a fresh copy of what a checkout holds."""

    def make(name: str) -> "Checkout":
        folder = tmp_path / name
        folder.mkdir()
        for part in ("Snakefile", "config.yaml", "workflow", "slurm", "envs", "src", "tests/workflow"):
            source, target = ROOT / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        return Checkout(folder, cache)

    return make


class Checkout:
    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        binaries = str(Path(sys.executable).parent)
        self.env = os.environ | {
            "PYTHONPATH": str(folder / "src"),
            "PATH": binaries + os.pathsep + os.environ["PATH"],
            "XDG_CACHE_HOME": str(folder / ".xdg"),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)

    def snakemake(self, *options: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return self.run(*self.command(*options, **settings))

    def command(self, *options: str, **settings: object) -> list[str]:
        config = [f"{key}={value}" for key, value in ({"study": TINY, "cache": self.cache} | settings).items()]
        return ["snakemake", "--cores", "2", *options, "--config", *config]


@pytest.mark.slow
def test_study_then_nothing_to_do_and_edits_rerun(checkout):
    place = checkout("first")
    with (place.folder / "out.txt").open("w") as out:
        running = subprocess.Popen(place.command(), cwd=place.folder, env=place.env, stdout=out, stderr=out)
    plan = place.folder / "results/tiny/plan.json"
    deadline = time.monotonic() + 120
    while not plan.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    before = plan.read_bytes()
    # Whoever looks at the run meanwhile, or starts a second one, does not harm it.
    looked = place.snakemake("--dry-run", "--rerun-incomplete", jobs="{minutes: 1.0e-9}")
    assert looked.returncode == 0, looked.stdout[-2000:]
    second = place.snakemake("--rerun-incomplete", jobs="{minutes: 1.0e-9}")
    assert second.returncode != 0
    assert "lock" in second.stderr + second.stdout
    assert plan.read_bytes() == before
    assert running.wait(timeout=400) == 0, (place.folder / "out.txt").read_text()[-3000:]
    for expected in (
        "table1.csv",
        "table1.tex",
        "table2.csv",
        "table5.csv",
        "fig4b.pdf",
        "fig4b.png",
        "claims.csv",
        "published.md",
    ):
        assert (place.folder / "paper_figures/tiny" / expected).exists()

    again = place.snakemake()
    assert "Nothing to be done" in again.stdout + again.stderr

    # What plans, estimates costs, or defends elsewhere: nothing is computed or drawn again.
    for name in ("study/cost.py", "study/planning.py", "study/expand.py", "post_processing/noise.py"):
        unused = place.folder / "src/gradleak" / name
        unused.write_text(unused.read_text() + "\n# edited\n")
    planned = place.snakemake("--dry-run")
    assert "Nothing to be done" in planned.stdout + planned.stderr

    # A figure kind: nothing but figures is drawn again.
    figure = place.folder / "src/gradleak/presentations/line.py"
    figure.write_text(figure.read_text() + "\n# edited\n")
    planned = place.snakemake("--dry-run").stdout
    assert "rule figures:" in planned
    assert "rule reconstruct_batch:" not in planned
    assert "rule score_batch:" not in planned

    # A prior that one batch uses: its attack runs again, on updates that are made for it, for they are temporary.
    prior = place.folder / "src/gradleak/priors/total_variation.py"
    prior.write_text(prior.read_text() + "\n# edited\n")
    planned = place.snakemake("--dry-run", "--quiet", "rules").stdout + place.snakemake("--dry-run").stdout
    assert "rule reconstruct_batch:" in planned
    assert "fetch_data" not in rules_in(planned)

    # Settings that decide bits: all that is computed runs again. How jobs are saved: nothing but what is shown.
    place.snakemake("--touch")
    planned = place.snakemake("--dry-run", threads=2).stdout
    assert {"compute_updates", "reconstruct_batch", "score_batch"} <= rules_in(planned)
    planned = place.snakemake("--dry-run", jobs="{save_every_s: 5}").stdout
    assert "collect_results" in rules_in(planned)
    assert "reconstruct_batch" not in rules_in(planned)


def rules_in(planned: str) -> set[str]:
    return set(re.findall(r"^(?:local)?rule (\w+):", planned, re.M))


@pytest.mark.slow
def test_attack_killed_hard_resumes_and_gives_the_same_bytes(checkout):
    place = checkout("killed")
    config = place.folder / "config.yaml"
    settings = config.read_text().replace("save_every_s: 60", "save_every_s: 0")
    config.write_text(settings.replace("cache: .cache/gradleak", f"cache: {place.cache}"))
    study = place.folder / TINY
    study.write_text(study.read_text().replace("iterations: 20", "iterations: 300"))
    gradleak = (sys.executable, "-m", "gradleak")
    made = place.run(*gradleak, "plan", "--study", TINY, "--out", "plan.json")
    assert made.returncode == 0, made.stderr
    from gradleak.study.plan import Plan

    plan = Plan.read(place.folder / "plan.json")
    batch = next(iter(plan.batches.values()))
    shared = (*gradleak, "update", "--plan", "plan.json", "--batch", batch.id, "--checkpoints", "checkpoints")
    assert place.run(*shared, "--out", "updates.safetensors").returncode == 0

    def attack(out: str) -> list[str]:
        options = ["--plan", "plan.json", "--batch", batch.id, "--checkpoints", "checkpoints"]
        return [*gradleak, "reconstruct", *options, "--updates", "updates.safetensors", "--out", out]

    process = subprocess.Popen(attack("a.safetensors"), cwd=place.folder, env=place.env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(place.folder.glob("a.safetensors.state/*/*.safetensors")) and time.monotonic() < deadline:
        assert process.poll() is None, "the attack ended before it saved a state"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (place.folder / "a.safetensors").exists()

    assert place.run(*attack("a.safetensors")).returncode == 0
    assert place.run(*attack("b.safetensors")).returncode == 0
    assert (place.folder / "a.safetensors").read_bytes() == (place.folder / "b.safetensors").read_bytes()
    assert not (place.folder / "a.safetensors.state").exists()


def test_paper_study_can_be_planned_without_its_data(checkout):
    place = checkout("paper")
    planned = place.run("snakemake", "--profile", "slurm", "--dry-run", "--config", "study=paper")
    assert planned.returncode == 0, planned.stderr[-3000:]
    (total,) = re.findall(r"^total +(\d+)$", planned.stdout, re.M)[:1]
    assert int(total) < 2000
    assert not (place.folder / "results").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("studi=quick", "studi: unknown key"),
        ("study=nosuch", "unknown study 'nosuch'"),
        ("threads=0", "threads"),
        ("cache=a {b}", "cache: 'a {b}' has braces, which Snakemake reads as wildcards; choose another"),
    ],
)
def test_bad_config_is_one_clear_line_and_nothing_runs(checkout, option, message):
    place = checkout("bad")
    failed = place.run("snakemake", "--cores", "1", "--config", option)
    assert failed.returncode != 0
    assert message in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (place.folder / "results").exists()
