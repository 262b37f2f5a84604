"""Times rows of `engine.py` with the package that PYTHONPATH names, this checkout's or an older one.

It uses the public attack alone. Where a name or signature has changed since, it tries the newer one first.
"""

import inspect
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

SIDE, CLASSES = 32, 10
WARM_UP = 4  # a step is recorded and compared before it is replayed


class Row(NamedTuple):
    """T attacks on N images each; `iterations` take about two seconds on one thread."""

    model: dict[str, Any]
    samples: int
    trials: int
    iterations: int


def _resnet(width: float) -> dict[str, Any]:
    return {"name": "resnet18", "width": width, "options": {"stem": "cifar"}}


CONVNET = {"name": "convnet", "options": {"channels": 32, "stages": 2, "layers": 1, "kernel": 5, "norm": True}}

ROWS = {
    "resnet18-1-n4": Row(_resnet(1.0), 4, 1, 9),
    "resnet18-1-n1": Row(_resnet(1.0), 1, 1, 24),
    "resnet18-0.25-n1": Row(_resnet(0.25), 1, 1, 80),
    "resnet18-0.125-n1-t5": Row(_resnet(0.125), 1, 5, 60),
    "convnet-n4-t8": Row(CONVNET, 4, 8, 30),
    "googlenet-0.125-n1-t5": Row({"name": "googlenet", "width": 0.125}, 1, 5, 20),
    "densenet43-0.125-n1-t2": Row({"name": "densenet43", "width": 0.125}, 1, 2, 40),
}


def milliseconds(row: Row) -> float:
    """Processor time of an iteration."""
    import torch

    from gradleak.attacks.base import RunContext, Trial
    from gradleak.engine.descent import DescentConfig
    from gradleak.federated.client import local_update
    from gradleak.federated.shared_update import SharedUpdate
    from gradleak.models.base import build_model

    try:
        from gradleak.specs import ClientSpec, ModelSpec
    except ImportError:
        from gradleak.cell import ClientSpec, ModelSpec

    model = build_model(ModelSpec(**row.model), CLASSES, SIDE, (0.5,) * 3, (0.25,) * 3)
    images = torch.rand(row.samples, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(row.samples)
    update = local_update(model, images, labels, ClientSpec(samples=row.samples))
    shared = SharedUpdate(update, model, 0, row.samples, (3, SIDE, SIDE), CLASSES, labels)

    def seconds(iterations: int) -> float:
        attack, settings = _attack(
            objective="cosine", priors={"tv": 0.01}, init="uniform", descent=DescentConfig(iterations=iterations)
        )
        trials = [Trial(settings, shared, seed) for seed in range(row.trials)]
        begun = time.process_time()
        attack.run(trials, RunContext(device="cpu"))
        return time.process_time() - begun

    seconds(WARM_UP)
    short = seconds(WARM_UP)
    return 1000 * (seconds(WARM_UP + row.iterations) - short) / row.iterations


def _attack(**settings: Any) -> tuple[Any, Any]:
    """GIA-O and what a trial names of it: itself, once a class with settings beside it."""
    from gradleak.attacks import gia_o

    if hasattr(gia_o, "GiaOConfig"):
        return gia_o.GiaO, gia_o.GiaOConfig(**settings)
    attack = gia_o.GiaO(**settings)
    return attack, attack


def main() -> None:
    import gradleak
    from gradleak.engine.device import prepare_device

    source = os.environ["PYTHONPATH"]
    if not Path(gradleak.__file__).is_relative_to(source):
        raise SystemExit(f"{gradleak.__file__} is not in {source}")

    # The third argument is the precision, once whether to use TF32.
    third = list(inspect.signature(prepare_device).parameters.values())[2]
    exact: Any = False if third.annotation in (bool, "bool") else "float32"
    prepare_device("cpu", 1, exact)
    print(json.dumps({name: milliseconds(ROWS[name]) for name in sys.argv[1:]}))


if __name__ == "__main__":
    main()
