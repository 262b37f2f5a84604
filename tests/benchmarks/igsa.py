"""IGSA of one model at round 0 by each estimator: value, interval, seconds, and the time for an equal error.

The paper's estimator runs in float64 and (where rounding allows) in float32, the forward-mode one in float32, each
with the same number of draws K from the same test image. `ratio` is IGSA over that of the paper's estimator in
float64. How much faster an equal relative standard error is reached (seconds times squared error, against the same) is
told only where the two agree within four standard errors: kinks and rounding make different numbers of them. On a CPU,
seconds are the process's own, so that other work on the machine counts little. The last line is JSON.
"""

import argparse
import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradleak.data.opening import open_dataset
from gradleak.engine.device import device_name, prepare_device
from gradleak.errors import UserError
from gradleak.models.base import build_model
from gradleak.smoothness.estimate import Estimate
from gradleak.smoothness.igsa import forward_igsa, igsa
from gradleak.smoothness.spec import ForwardSettings, IgsaSettings
from gradleak.specs import ModelSpec
from gradleak.study.config import load_config

RESOLUTION = 32
WARM_UP = 64


def main() -> None:
    arguments = _arguments()
    device = arguments.device
    prepare_device(device, threads=arguments.threads, precision="float32")
    dataset = open_dataset(arguments.dataset, RESOLUTION, load_config(arguments.config).data)
    spec = ModelSpec(name=arguments.model, width=arguments.width, options=json.loads(arguments.options))
    model = build_model(spec, dataset.num_classes, RESOLUTION, dataset.mean, dataset.std).to(device)
    images, labels = dataset.images("test", [arguments.image]), dataset.labels("test", [arguments.image])

    def paper(precision: str) -> Callable[[float, int], Estimate]:
        return lambda r, k: igsa(model, images, labels, IgsaSettings(radius=r, samples=k, precision=precision))

    def forward(r: float, k: int) -> Estimate:
        return forward_igsa(model, images, labels, ForwardSettings(radius=r, samples=k, relative_error=0))

    methods = {"paper float64": paper("float64"), "paper float32": paper("float32"), "forward float32": forward}
    for method in methods.values():
        with contextlib.suppress(UserError):
            method(max(arguments.radii), WARM_UP)
    rows: list[dict[str, Any]] = []
    print(f"{spec.name}, width {spec.width:g}, K = {arguments.samples}, {device_name(device)}")
    for radius in arguments.radii:
        base: dict[str, Any] | None = None
        for name, method in methods.items():
            try:
                row = _measure(name, method, radius, arguments.samples, device)
            except UserError as error:
                print(f"r {radius:.0e}  {name:15}  {error}", flush=True)
                continue
            base = base or row
            row["ratio"] = row["igsa"] / base["igsa"]
            tolerance = 4 * math.hypot(row["relative_error"], base["relative_error"])
            same = 1 / (1 + tolerance) <= row["ratio"] <= 1 + tolerance
            row["faster_at_equal_error"] = base["cost"] / row["cost"] if same else None
            faster = f"equal error {row['faster_at_equal_error']:.1f} times as fast" if same else "another number"
            rows.append(row)
            print(
                f"r {radius:.0e}  {name:15}  IGSA {row['igsa']:.5g} [{row['low']:.5g}, {row['high']:.5g}]  "
                f"error {row['relative_error']:.2%}  {row['seconds']:.2f} s  ratio {row['ratio']:.4f}  {faster}",
                flush=True,
            )
    print(json.dumps(rows))


def _measure(name: str, method: Callable[[float, int], Estimate], radius: float, samples: int, device: str) -> dict:
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    started = clock()
    found = method(radius, samples)
    seconds = clock() - started
    return {
        "method": name,
        "radius": radius,
        "igsa": found.igsa,
        "low": found.low,
        "high": found.high if math.isfinite(found.high) else None,
        "relative_error": found.relative_error,
        "seconds": seconds,
        "cost": seconds * found.relative_error**2,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="IGSA by each estimator: value, interval, seconds.")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--options", default="{}", help="the model's options, as JSON")
    parser.add_argument("--dataset", default="photos10")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="says where the data set's images are")
    parser.add_argument("--image", type=int, default=0, help="index of the test image")
    parser.add_argument("--samples", type=int, default=200, help="K, the number of draws of each estimate")
    parser.add_argument("--radii", type=float, nargs="+", default=[1e-3], help="radii r of the ball")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
