"""A checkout in which studies run as a user runs them: what the tests of this folder share."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDY = "tests/slurm/study.yaml"
RESULTS = "results/study"


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
