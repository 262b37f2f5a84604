"""What whitening gains: LPIPS of GIA-O with and without it, trial by trial, on the same clients and for the same time.

Each case attacks clients with images of their own, test images 0 on: without whitening by the settings of the search
`gia-o-n4`, with it by those of `gia-o-whitened-n4`. Of either the mean over trials is told, of the paired differences
the mean with its 95 % interval (Student's t), and the ratio of processor times. Rows go to standard error as they come;
the last line of standard output is one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from paired import CONVNET, cells, interval
from paired import measure as attack

from gradleak.study.config import load_config

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


def measure(case: str, way: str, trials: int, iterations: int, dataset: str, config: Path) -> tuple[pd.Series, float]:
    """LPIPS of each trial (mean over its images), and the seconds of processor time of all."""
    client = {"bn_mode": "eval"} | CASES[case]
    content = {"model": CONVNET, "post_processing": client.pop("defense", None), "client": client}
    settings = load_config(config).model_copy(update={"device": "cpu"})
    found, seconds = attack(cells(content, TUNED[way], trials, iterations, dataset), ["lpips"], settings)
    return found["lpips"], seconds


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
        result[case] = {
            "cosine": round(float(plain.mean()), 4),
            "whitened": round(float(whitened.mean()), 4),
            "difference": [round(value, 4) for value in interval(whitened - plain)],
            "time_ratio": round(after / before, 2),
        }
        print(f"{case}: {result[case]}", file=sys.stderr, flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
