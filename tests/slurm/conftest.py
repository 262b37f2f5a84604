"""One SLURM cluster for all tests of this folder, and checkouts that run studies on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cluster as slurm
import pytest

ROOT = Path(__file__).parents[2]
STUDY = "tests/slurm/study.yaml"
RESULTS = "results/study"
PARTS = ("Snakefile", "config.yaml", "workflow", "envs", "src", STUDY)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    """A running cluster of one node with two GPUs; the test is skipped, with what to install, where none can be."""
    if reason := slurm.missing():
        pytest.skip(reason)
    running = slurm.Cluster(tmp_path_factory.mktemp("cluster"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, cache: Path):
    """Return a function that makes a fresh checkout in which every attack is a job of its own."""

    def make(name: str) -> "Checkout":
        folder = tmp_path_factory.mktemp(name)
        for part in PARTS:
            target = folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / part, target)
        (folder / "slurm").symlink_to((ROOT / "slurm").readlink())
        config = folder / "config.yaml"
        changes = [("minutes: 1.5", "minutes: 1.0e-9"), ("save_every_s: 60", "save_every_s: 0")]
        text = config.read_text()
        for old, new in [*changes, ("study: quick", f"study: {STUDY}"), (".cache/gradleak", str(cache))]:
            assert old in text
            text = text.replace(old, new)
        config.write_text(text)
        return Checkout(folder)

    return make


class Checkout:
    """A copy of what a checkout holds, and the environment of a user who works in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "PYTHONPATH": str(folder / "src"),
            "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
            "XDG_CACHE_HOME": str(folder / ".xdg"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *command: str, log: str = "out.txt", **env: str) -> subprocess.Popen[bytes]:
        """Start a command; what it prints goes to a file."""
        with (self.folder / log).open("wb") as out:
            return subprocess.Popen(command, cwd=self.folder, env=self.env | env, stdout=out, stderr=out)

    def run(self, *command: str, log: str = "out.txt", **env: str) -> str:
        """Run a command; returns what it prints. Raises AssertionError with the end of that if it fails."""
        code = self.start(*command, log=log, **env).wait(timeout=400)
        text = self.text(log)
        assert code == 0, text[-4000:]
        return text

    def text(self, name: str) -> str:
        """A file's text."""
        return (self.folder / name).read_text(errors="replace")

    def results(self) -> dict[str, bytes]:
        """What a study is for: all Parquet files, shards, and tables."""
        files = [*self.folder.glob(f"{RESULTS}/*.parquet"), *self.folder.glob(f"{RESULTS}/shards/*.parquet")]
        files += self.folder.glob("paper_figures/study/*")
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(files) if path.is_file()}
