"""What bfloat16 convolutions cost: LPIPS and PSNR of the same attacks in float32 and in bf16, trial by trial.

Each case attacks clients with images of their own, test images 0 on, from the same starts in both precisions. Of
every metric the mean of each side and the mean of the paired differences with its 95 % interval (Student's t) are
told. Rows go to standard error as they come; the last line of standard output is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from gradleak.archive.verify import plan_of, recompute
from gradleak.documents import read_yaml
from gradleak.engine.device import prepare_device
from gradleak.stages.session import Session
from gradleak.study.cell import Cell
from gradleak.study.config import load_config

ROOT = Path(__file__).resolve().parents[2]
RESNET = {"name": "resnet18", "options": {"stem": "cifar"}}
CONVNET = {"name": "convnet", "options": {"channels": 32, "stages": 2, "layers": 1, "kernel": 5, "norm": True}}
TUNED = {"resnet18": "cifar-gia-o-n4", "convnet": "gia-o-n4"}  # the search for either model
CASES = {"resnet18-n1": (RESNET, 1), "resnet18-n4": (RESNET, 4), "convnet-n4": (CONVNET, 4)}
METRICS = ("lpips", "psnr")


def cells(model: dict[str, Any], samples: int, trials: int, iterations: int, dataset: str) -> list[Cell]:
    """One cell per trial, with the settings that the search for its model found."""
    found = read_yaml(ROOT / "workflow/tuned" / f"{TUNED[model['name']]}.yaml")["attack"]
    attack = {**found, "descent": {**found["descent"], "iterations": iterations}}
    content = {
        "dataset": {"name": dataset, "resolution": 32},
        "model": model,
        "client": {"samples": samples, "bn_mode": "eval"},
        "knowledge_level": 1,
        "attack": attack,
        "seed": 0,
    }
    victims = [list(range(trial * samples, (trial + 1) * samples)) for trial in range(trials)]
    return [Cell.parse({**content, "victims": images}, "precision") for images in victims]


def measure(case: str, precision: str, trials: int, iterations: int, dataset: str, config: Path) -> pd.DataFrame:
    """The metrics of each trial (mean over its images), one row each."""
    settings = load_config(config).model_copy(update={"device": "cpu", "precision": precision})
    prepare_device("cpu", settings.threads, precision)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(cells(*CASES[case], trials, iterations, dataset), settings)
        rows = recompute(plan, Path(folder), Session("cpu"))
    found = rows.groupby("cell_id", sort=True)[list(METRICS)].mean()
    told = ", ".join(f"{metric} {found[metric].mean():.4f}" for metric in METRICS)
    seconds = time.process_time() - begun
    print(f"{case} {precision}: {told}; {seconds:.0f} s of processor time", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure all cases and print the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", dest="cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--dataset", default="photos10", help="as in `data` of the configuration")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    arguments = parser.parse_args()
    trials, iterations, dataset, config = (
        getattr(arguments, name) for name in ("trials", "iterations", "dataset", "config")
    )
    result: dict[str, Any] = {"trials": trials, "iterations": iterations, "dataset": dataset}
    for case in arguments.cases:
        full, low = (measure(case, precision, trials, iterations, dataset, config) for precision in ("float32", "bf16"))
        for metric in METRICS:
            differences = np.asarray(low[metric] - full[metric])
            half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
            mean = differences.mean()
            values = {"float32": full[metric].mean(), "bf16": low[metric].mean(), "difference": mean}
            values |= {"low": mean - half, "high": mean + half}
            result[f"{case}_{metric}"] = {key: round(float(value), 4) for key, value in values.items()}
            print(f"{case} {metric}: {result[f'{case}_{metric}']}", file=sys.stderr, flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
