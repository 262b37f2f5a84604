"""Speed and final quality of gradleak against the peer framework `breaching`, on the same problem.

Both attack ResNet-18 (CIFAR stem, default initialisation, evaluation mode) with the same weights, shared gradient,
start, objective, total variation, signed Adam and number of iterations, each in a process of its own that does one job
after the other. Short runs alternate, so that whatever else the machine does meets both; the ratios are taken pair by
pair. Longer runs from a few starts tell the cosine distance that each side arrives at, computed here in float64 for
both. Where other processes keep the machine busy, before or meanwhile, a WARNING says so. The last line of standard
output is one JSON object; progress goes to standard error. Takes some four minutes on two idle cores.
"""

import argparse
import contextlib
import copy
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peer_environment
import torch
from job import Problem, Settings, write_settings
from torch import Tensor

from gradleak.attacks.gia_o import ImageSpace
from gradleak.data.opening import open_dataset
from gradleak.federated.client import local_update
from gradleak.models.base import Classifier, build_model
from gradleak.specs import ClientSpec, ModelSpec

THREADS = 2
PAIRS = 5
TIMED_ITERATIONS = 20
WARM_UP = 2
QUALITY_ITERATIONS = {1: 100, 4: 60}  # by N, the number of images behind the shared gradient
QUALITY_STARTS = 2  # signed steps are chaotic: from one start either side may win by a percent or two
GPU_ITERATIONS = 1000
GPU_TRIALS = 64
LR = 0.1
TV_WEIGHT = 0.01  # in the peer's units, see `ours_worker.PeerTotalVariation`
SEED = 0
SAME_START_TOLERANCE = 1e-4
BUSY_CORES = 0.25  # kept busy by other processes: from here on a warning
LOOK_S = 3.0

HERE = Path(__file__).resolve().parent
#: Runs the job in a folder on one side, `peer` or `ours`.
Measure = Callable[[str, Settings], dict[str, Any]]


class Case:
    """One victim client with N images of photos10 and one full-batch step, and how near a reconstruction comes."""

    def __init__(self, samples: int) -> None:
        dataset = open_dataset("photos10", 32, {})
        victims = range(samples)
        images, self._labels = dataset.images("test", victims), dataset.labels("test", victims)
        model = build_model(ModelSpec(name="resnet18"), dataset.num_classes, 32, dataset.mean, dataset.std)
        assert isinstance(model, Classifier)
        self._client = ClientSpec(samples=samples)
        self._gradient = local_update(model, images, self._labels, self._client)
        self._model = copy.deepcopy(model).double()
        self._shape, self._space = images.shape, ImageSpace(model)
        self._problem = Problem(
            parameters=[p.detach() for p in model.network.parameters()],
            buffers=list(model.network.buffers()),
            gradient=list(self._gradient.values()),
            labels=self._labels,
            start=self._start(SEED),
            mean=torch.tensor(dataset.mean),
            std=torch.tensor(dataset.std),
            num_classes=dataset.num_classes,
        )

    def _start(self, seed: int) -> Tensor:
        return self._space.project(torch.randn(self._shape, generator=torch.Generator().manual_seed(seed)))

    def save(self, folder: Path, seed: int) -> None:
        """Write the problem, with the start of a seed, into a job's folder."""
        replace(self._problem, start=self._start(seed)).save(folder)

    def cosine_distance(self, images: Tensor) -> float:
        """Between the shared gradient and that of the images (N, 3, H, W) in [0, 1], in float64."""
        found = local_update(self._model, images.double(), self._labels, self._client)
        g = torch.cat([found[name].flatten() for name in self._gradient])
        target = torch.cat([value.flatten() for value in self._gradient.values()]).double()
        return float(1 - torch.cosine_similarity(g, target, dim=0))


def log(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


class Workers:
    """A process of each side that does one job after the other."""

    def __init__(self, peer_python: Path) -> None:
        programs = {"peer": (peer_python, "peer_worker.py"), "ours": (sys.executable, "ours_worker.py")}
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
        self._processes = {
            side: subprocess.Popen(
                [str(python), str(HERE / script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for side, (python, script) in programs.items()
        }

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.communicate()  # at the end of its input it ends

    def measure(self, folder: Path, side: str, settings: Settings) -> dict[str, Any]:
        """Run the job in a folder on one side. Raises SystemExit where it fails."""
        write_settings(folder, settings)
        process = self._processes[side]
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(folder, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            raise SystemExit(f"the worker of side '{side}' failed with status {process.wait()}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def cpu_s(self) -> float:
        """Processor seconds that both have had."""
        fields = [Path(f"/proc/{p.pid}/stat").read_text().rpartition(")")[2].split() for p in self._processes.values()]
        return sum(int(ticks) for found in fields for ticks in found[11:13]) / os.sysconf("SC_CLK_TCK")


class Others:
    """How many cores other processes keep busy, from Linux's counters; by the load average where there are none."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._begun = time.perf_counter(), self._seconds()

    def cores(self) -> float:
        """Mean since the last look; a fresh one begins."""
        now, seconds = time.perf_counter(), self._seconds()
        (begun, before), self._begun = self._begun, (now, seconds)
        if seconds is None or before is None:
            return round(max(os.getloadavg()[0] - THREADS, 0.0), 2)
        return round(max(seconds - before, 0.0) / (now - begun), 2)

    def _seconds(self) -> float | None:
        """Processor seconds of all processes but the workers and this one."""
        try:
            user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:9])
            every = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
            return every - self._workers.cpu_s() - time.process_time()
        except (OSError, ValueError):
            return None


def warned(others: float, when: str) -> str | None:
    """Say where other processes are in the way; the line, or None where they are not."""
    if others <= BUSY_CORES:
        return None
    line = f"other processes kept {others:g} cores busy {when}: timings are blurred, and ratios with them"
    log(f"WARNING: {line}")
    return line


def same_problem(measure: Measure, settings: Settings) -> dict[str, str]:
    """Check that both sides see the same objective at the start; returns the torch version of each.

    Raises SystemExit if they do not: nothing measured after that would mean anything.
    """
    first = replace(settings, iterations=1, warm_up=0)
    peer, ours = measure("peer", first), measure("ours", first)
    if abs(peer["objective"] - ours["objective"]) > SAME_START_TOLERANCE:
        raise SystemExit(f"not the same problem: {peer['objective']} and {ours['objective']} at the same start")
    log(f"N={settings.samples}: objective at the start {peer['objective']:.6f} (peer), {ours['objective']:.6f} (ours)")
    return {"torch": ours["torch"], "torch_peer": peer["torch"]}


def speed(measure: Measure, settings: Settings) -> dict[str, Any]:
    """Seconds per iteration of both sides in alternating runs, and the ratio of each pair."""
    seconds: dict[str, list[float]] = {"peer": [], "ours": []}
    for pair in range(PAIRS):
        for side, values in seconds.items():
            values.append(measure(side, settings)["iteration_s"])
        text = ", ".join(f"{side} {values[-1]:.4f} s" for side, values in seconds.items())
        log(f"N={settings.samples} pair {pair + 1} of {PAIRS}: {text} per iteration")
    ratios = [peer / ours for peer, ours in zip(seconds["peer"], seconds["ours"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "peer_s": round(statistics.median(seconds["peer"]), 5),
        "ours_s": round(statistics.median(seconds["ours"]), 5),
    }


def quality(measure: Measure, settings: Settings, case: Case, folder: Path) -> dict[str, Any]:
    """Mean cosine distance that each side arrives at, from the same starts, after the same number of iterations."""
    iterations = QUALITY_ITERATIONS[settings.samples]
    distances: dict[str, list[float]] = {"peer": [], "ours": []}
    for seed in range(SEED, SEED + QUALITY_STARTS):
        case.save(folder, seed)
        for side, values in distances.items():
            measure(side, replace(settings, iterations=iterations, warm_up=0, seed=seed))
            values.append(case.cosine_distance(torch.load(folder / "images.pt", weights_only=True)))
        text = ", ".join(f"{side} {values[-1]:.6f}" for side, values in distances.items())
        log(f"N={settings.samples} start {seed}: cosine distance {text} after {iterations} iterations")
    found: dict[str, Any] = {"quality_iterations": iterations}
    for side, values in distances.items():
        found |= {
            f"cosine_{side}": round(statistics.mean(values), 6),
            f"cosines_{side}": [round(value, 6) for value in values],
        }
    return found


def gpu_throughput(measure: Measure, settings: Settings) -> dict[str, Any]:
    """Reconstructions per hour on a GPU, set-up included: the peer one by one, ours as many at once as fit."""
    settings = replace(settings, device="cuda", iterations=GPU_ITERATIONS)
    peer = 3600 / measure("peer", settings)["wall_s"]
    ours = GPU_TRIALS * 3600 / measure("ours", replace(settings, trials=GPU_TRIALS))["wall_s"]
    log(f"N={settings.samples} on the GPU: {peer:.1f} (peer) and {ours:.1f} (ours) reconstructions per hour")
    return {"peer_per_hour": round(peer, 1), "ours_per_hour": round(ours, 1), "ratio": round(ours / peer, 2)}


def main() -> None:
    """Measure everything and print the line of JSON."""
    precision = _precision()
    peer_python = peer_environment.prepare()
    torch.set_num_threads(THREADS)
    with Workers(peer_python) as workers:
        print(json.dumps(_compared(workers, precision)))


def _precision() -> str:
    parser = argparse.ArgumentParser(description="Speed and final quality against the peer framework breaching.")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="of our side")
    precision: str = parser.parse_args().precision
    return precision


def _compared(workers: Workers, precision: str) -> dict[str, Any]:
    others = Others(workers)
    result: dict[str, Any] = {
        "precision": precision,
        "threads": THREADS,
        "pairs": PAIRS,
        "iterations": TIMED_ITERATIONS,
        "starts": QUALITY_STARTS,
    }
    time.sleep(LOOK_S)
    before = others.cores()
    warnings = [warned(before, "at the start")]
    for samples in QUALITY_ITERATIONS:
        settings = Settings(samples, TIMED_ITERATIONS, WARM_UP, TV_WEIGHT, LR, SEED, THREADS, precision=precision)
        case = Case(samples)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            case.save(folder, SEED)
            measure = functools.partial(workers.measure, folder)
            result |= same_problem(measure, settings)
            found = {f"n{samples}_{key}": value for key, value in speed(measure, settings).items()}
            if torch.cuda.is_available():
                gpu = gpu_throughput(measure, settings)
                found |= {f"gpu_n{samples}_{key}": value for key, value in gpu.items()}
            reached = quality(measure, settings, case, folder)
            result |= found | {f"n{samples}_{key}": value for key, value in reached.items()}
    if torch.cuda.is_available():
        result |= {"gpu": torch.cuda.get_device_name(), "gpu_trials": GPU_TRIALS, "gpu_iterations": GPU_ITERATIONS}
    meanwhile = others.cores()
    warnings.append(warned(meanwhile, "meanwhile"))
    busy = {"other_cores_before": before, "other_cores_meanwhile": meanwhile}
    return {"warnings": [line for line in warnings if line], **busy, **result}


if __name__ == "__main__":
    main()
