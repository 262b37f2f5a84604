"""One SLURM cluster for all tests of this folder, and checkouts that run studies on it."""

import shutil
from pathlib import Path

import cluster as slurm
import pytest
from slurm_cases import ROOT, STUDY, Checkout

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

    def make(name: str) -> Checkout:
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
        changes = [("save_every_s: 60", "save_every_s: 0")]
        text = config.read_text()
        for old, new in [*changes, ("study: quick", f"study: {STUDY}"), (".cache/gradleak", str(cache))]:
            assert old in text
            text = text.replace(old, new)
        config.write_text(text)
        return Checkout(folder)

    return make
