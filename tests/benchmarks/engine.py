"""The engine of this checkout against that of another commit: processor time of a whole iteration, row by row.

`git archive` unpacks the commit into a temporary folder. Each side runs the same attacks (GIA-O, cosine objective,
total variation, uniform start) on one thread in processes of its own, which alternate. An iteration's time is the
difference of a long and a short attack, so what comes before the first iteration cancels. A ratio is that of one round,
the commit's time over this checkout's: above 1 this checkout is faster. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from engine_worker import ROWS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        commit = unpack(arguments.base, Path(name))
        sources = {"base": Path(name) / "src", "here": ROOT / "src"}
        print(f"base {commit[:12]}, {arguments.rounds} rounds, ms of processor time per iteration", flush=True)
        rounds = []
        for index in range(arguments.rounds):
            sides = list(sources) if index % 2 else list(sources)[::-1]
            rounds.append({side: measure(sources[side], arguments.rows) for side in sides})
            print(f"round {index + 1} of {arguments.rounds} is done", file=sys.stderr, flush=True)
    found = {
        row: summary([one["base"][row] for one in rounds], [one["here"][row] for one in rounds])
        for row in arguments.rows
    }
    for row in arguments.rows:
        values = found[row]
        print(
            f"{row:22} base {values['base_ms']:8.2f}  here {values['here_ms']:8.2f}  ratio {values['ratio']:.2f} "
            f"({min(values['ratios']):.2f} to {max(values['ratios']):.2f})"
        )
    print(json.dumps({"base": commit, "rounds": arguments.rounds, "rows": found}))


def unpack(commit: str, folder: Path) -> str:
    """Unpack the sources of a commit; returns its full name. Raises SystemExit for one that git does not know."""
    git = ["git", "-C", str(ROOT)]
    named = subprocess.run([*git, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], capture_output=True)
    if named.returncode:
        raise SystemExit(f"'{commit}' is no commit that git knows here")
    full = named.stdout.decode().strip()
    packed = subprocess.run([*git, "archive", full, "src"], check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(folder)], check=True, input=packed.stdout)
    return full


def measure(source: Path, rows: list[str]) -> dict[str, float]:
    """Milliseconds per iteration of each row with the package in a folder, in a fresh process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(HERE / "engine_worker.py"), *rows]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the worker on {source} failed with status {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(base: list[float], here: list[float]) -> dict[str, float | list[float]]:
    """Medians of both sides, and the ratio of each round with its median."""
    ratios = [theirs / ours for theirs, ours in zip(base, here, strict=True)]
    return {
        "base_ms": round(statistics.median(base), 3),
        "here_ms": round(statistics.median(here), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="This checkout's engine against that of another commit.")
    parser.add_argument("--base", default="HEAD", help="commit to compare with; default: HEAD")
    parser.add_argument(
        "--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds; default: 3")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}; must be 1 or more")
    return arguments


if __name__ == "__main__":
    main()
