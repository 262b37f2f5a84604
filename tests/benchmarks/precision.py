"""What bfloat16 convolutions cost: LPIPS and PSNR of the same attacks in float32 and in bf16, trial by trial.

Each case attacks clients with images of their own, test images 0 on, from the same starts in both precisions. Of
every metric the mean of each side and the mean of the paired differences with its 95 % interval (Student's t) are
told. Rows go to standard error as they come; the last line of standard output is one JSON object.
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

RESNET = {"name": "resnet18", "options": {"stem": "cifar"}}
TUNED = {"resnet18": "cifar-gia-o-n4", "convnet": "gia-o-n4"}  # the search for either model
CASES = {"resnet18-n1": (RESNET, 1), "resnet18-n4": (RESNET, 4), "convnet-n4": (CONVNET, 4)}
METRICS = ("lpips", "psnr")


def measure(case: str, precision: str, trials: int, iterations: int, dataset: str, config: Path) -> pd.DataFrame:
    """The metrics of each trial (mean over its images), one row each."""
    settings = load_config(config).model_copy(update={"device": "cpu", "precision": precision})
    model, samples = CASES[case]
    content = {"model": model, "client": {"samples": samples, "bn_mode": "eval"}}
    found, seconds = attack(cells(content, TUNED[str(model["name"])], trials, iterations, dataset), METRICS, settings)
    told = ", ".join(f"{metric} {found[metric].mean():.4f}" for metric in METRICS)
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
            mean, low_end, high_end = interval(low[metric] - full[metric])
            values = {"float32": full[metric].mean(), "bf16": low[metric].mean(), "difference": mean}
            values |= {"low": low_end, "high": high_end}
            result[f"{case}_{metric}"] = {key: round(float(value), 4) for key, value in values.items()}
            print(f"{case} {metric}: {result[f'{case}_{metric}']}", file=sys.stderr, flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
