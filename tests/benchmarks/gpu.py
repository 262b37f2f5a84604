"""A few minutes of one GPU: does it compute what a CPU does, how fast is the engine, what do attacks reach?

Runs each of `STEPS` in a process of its own with a time limit, so that a failure costs only itself. What a step finds
is in OUT/<step>.json, also where it fails or runs out of time; the exit status is 1 then. Made for a machine with
Python, PyTorch and no network: packages that it lacks are taken from .gpu/wheels, and .gpu/config.yaml says where
images and the LPIPS backbone are. `--device cpu --small` rehearses all of it without a GPU.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KIT = ROOT / ".gpu"
SITE = Path(tempfile.gettempdir()) / "gradleak-gpu" / str(sys.implementation.cache_tag)

#: Step, a function of gpu_steps.py: the seconds that it may take, and what it tells.
STEPS = {
    "facts": (30, "versions, free memory, TFLOP/s of a matrix product with and without TF32"),
    "agree": (100, "how far one evaluation is from float64 on the CPU, for eight models"),
    "capture": (60, "whether the captured iteration equals the called one, bit for bit"),
    "convolutions": (100, "time of each way to a convolution with one weight per trial, by layer and precision"),
    "speed": (150, "milliseconds per iteration, reconstructions per hour, TFLOP/s, peak memory"),
    "peer": (100, "milliseconds per iteration of breaching, one reconstruction at a time"),
    "strength": (420, "Table 1 and part of Table 5, ResNet-18 at full width, ten trials; rows in strength.parquet"),
}
LEAST_S = 15.0  # in which a step can tell anything
GRACE_S = 20.0  # that a step has to end by itself


@dataclass(frozen=True)
class Run:
    """What a step is given, and what it has found so far. `deadline`: when it should end, in seconds since 1970."""

    step: str
    out: str
    device: str
    small: bool
    deadline: float
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """Where `found` is written."""
        return Path(self.out) / f"{self.step}.json"

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def note(self, name: str, value: object) -> None:
        """Add to what was found, in the file at once."""
        self.found[name] = value
        self.file.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        print(f"  {name}: {value}"[:200], flush=True)

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Around one case of several: its failure is noted, and the others go on."""
        try:
            yield
        except Exception as error:
            self.note(name, f"FAILED {type(error).__name__}: {str(error)[:600]}")

    @property
    def failed(self) -> bool:
        """Whether a case failed."""
        return any(str(value).startswith("FAILED") for value in self.found.values())

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        """Median seconds of a call, after one that does not count."""
        import torch  # which the process that starts the steps does not need

        wait = torch.cuda.synchronize if self.device == "cuda" else lambda: None
        call()
        times = []
        for _ in range(repeats):
            wait()
            begun = time.perf_counter()
            call()
            wait()
            times.append(time.perf_counter() - begun)
        return statistics.median(times)


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    _unpack()
    end = time.time() + 60 * arguments.minutes
    went_well = []
    for step in arguments.steps:
        seconds, tells = STEPS[step]
        left = end - time.time()
        print(f"== {step}: {tells if left >= LEAST_S else 'no time left'}", flush=True)
        if left >= LEAST_S:
            deadline = time.time() + min(seconds, left)
            run = Run(step, str(arguments.out.resolve()), arguments.device, arguments.small, deadline)
            went_well.append(_start(run, min(seconds + GRACE_S, left)))
    if not all(went_well):
        sys.exit(1)


def _start(run: Run, limit: float) -> bool:
    """Run a step in a process of its own for `limit` seconds at most; returns whether it went well."""
    run.file.unlink(missing_ok=True)
    begun = time.time()
    path = os.pathsep.join([str(SITE), str(ROOT / "src")])
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "gpu_steps.py"), json.dumps(asdict(run))],
            env={**os.environ, "PYTHONPATH": path},
            cwd=ROOT,
            timeout=limit,
            stderr=subprocess.PIPE,
            text=True,
        )
        ended = "well" if done.returncode == 0 else f"exit status {done.returncode}. {done.stderr[-2500:]}"
    except subprocess.TimeoutExpired:
        ended = f"stopped after {limit:.0f} s"
    found = json.loads(run.file.read_text(encoding="utf-8")) if run.file.exists() else {}
    seconds = round(time.time() - begun, 1)
    run.file.write_text(json.dumps({**found, "seconds": seconds, "ended": ended}, indent=1), encoding="utf-8")
    print(f"  ended {ended}, {seconds:g} s", flush=True)
    return ended == "well"


def _unpack() -> None:
    """Unpack the wheels that this Python has not in the same version; they come before its own packages."""
    wheels = [wheel for wheel in sorted((KIT / "wheels").glob("*.whl")) if not _has(*wheel.name.split("-")[:2])]
    if wheels and not SITE.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(SITE)]
        subprocess.run([*pip, *map(str, wheels)], check=True)


def _has(name: str, wanted: str) -> bool:
    try:
        return version(name) == wanted
    except PackageNotFoundError:
        return False


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a few minutes of one GPU can tell, step by step.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the JSON files, one per step")
    parser.add_argument("--steps", type=_steps, default=list(STEPS), help=f"of {','.join(STEPS)}; default: all")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all steps together")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="few and small cases: a rehearsal")
    return parser.parse_args()


def _steps(text: str) -> list[str]:
    steps = text.split(",")
    for step in steps:
        if step not in STEPS:
            raise argparse.ArgumentTypeError(f"'{step}' is none of {', '.join(STEPS)}")
    return steps


if __name__ == "__main__":
    main()
