"""What whitening gains: LPIPS of GIA-O with and without it, trial by trial, on the same clients and for the same time.

Each case attacks clients with images of their own, test images 0 on: without whitening by the settings of the search
`gia-o-n4`, with it by those of `gia-o-whitened-n4`. Of either the mean over trials is told, of the paired differences
the mean with its 95 % interval (Student's t), and the ratio of processor times. Rows go to standard error as they come;
the last line of standard output is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from gradleak.archive.verify import plan_of, recompute
from gradleak.documents import read_yaml
from gradleak.engine.device import prepare_device
from gradleak.stages.session import Session
from gradleak.study.cell import Cell
from gradleak.study.config import load_config

ROOT = Path(__file__).resolve().parents[2]
CONVNET = {"name": "convnet", "options": {"channels": 32, "stages": 2, "layers": 1, "kernel": 5, "norm": True}}
TUNED = {"cosine": "gia-o-n4", "whitened": "gia-o-whitened-n4"}
CASES: dict[str, dict[str, Any]] = {
    "n1": {"samples": 1},
    "n4": {"samples": 4},
    "n20": {"samples": 20},
    "n4-u8-rate-0.01": {"samples": 4, "epochs": 8, "lr": 0.01},
    "n4-u8-rate-0.03": {"samples": 4, "epochs": 8, "lr": 0.03},
    "n4-u8-rate-0.1": {"samples": 4, "epochs": 8, "lr": 0.1},
    "n4-quantized": {"samples": 4, "defense": {"name": "qsgd", "bits": 2}},
    "n4-sparsified": {"samples": 4, "defense": {"name": "top_k", "ratio": 0.9}},
    "n4-noise": {"samples": 4, "defense": {"name": "noise", "multiplier": 0.01}},
}


def cells(case: str, way: str, trials: int, iterations: int, dataset: str) -> list[Cell]:
    """One cell per trial."""
    client = {"bn_mode": "eval"} | CASES[case]
    defense, samples = client.pop("defense", None), client["samples"]
    found = read_yaml(ROOT / "workflow/tuned" / f"{TUNED[way]}.yaml")["attack"]
    content = {
        "dataset": {"name": dataset, "resolution": 32},
        "model": CONVNET,
        "client": client,
        "post_processing": defense,
        "knowledge_level": 1,
        "attack": {**found, "descent": {**found["descent"], "iterations": iterations}},
        "seed": 0,
    }
    victims = [list(range(trial * samples, (trial + 1) * samples)) for trial in range(trials)]
    return [Cell.parse({**content, "victims": images}, "whitening") for images in victims]


def measure(case: str, way: str, trials: int, iterations: int, dataset: str, config: Path) -> tuple[pd.Series, float]:
    """LPIPS of each trial (mean over its images), and the seconds of processor time of all."""
    settings = load_config(config).model_copy(update={"device": "cpu"})
    prepare_device("cpu", settings.threads, settings.precision)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(cells(case, way, trials, iterations, dataset), settings)
        rows = recompute(plan, Path(folder), Session("cpu"))
    seconds = time.process_time() - begun
    by_trial = rows.assign(trial=rows["image"] // CASES[case]["samples"]).groupby("trial")["lpips"].mean()
    return by_trial, seconds


def main() -> None:
    """Measure all cases and print the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", dest="cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--dataset", default="cifar10", help="as in `data` of the configuration")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    arguments = parser.parse_args()
    given = arguments.trials, arguments.iterations, arguments.dataset, arguments.config
    result: dict[str, Any] = {"trials": arguments.trials, "iterations": arguments.iterations}
    for case in arguments.cases:
        (plain, before), (whitened, after) = (measure(case, way, *given) for way in TUNED)
        difference = whitened - plain
        half = float(stats.t.ppf(0.975, len(difference) - 1) * difference.sem())
        mean = float(difference.mean())
        result[case] = {
            "cosine": round(float(plain.mean()), 4),
            "whitened": round(float(whitened.mean()), 4),
            "difference": [round(value, 4) for value in (mean, mean - half, mean + half)],
            "time_ratio": round(after / before, 2),
        }
        print(f"{case}: {result[case]}", file=sys.stderr, flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
