"""Attacks on clients of R checkpoints of one architecture: one pass per checkpoint, or one pass for all.

`passes` is the activation matcher with a pass per checkpoint; `grouped` is the same matcher in one pass, with one
weight per trial in every layer; `vmap` maps the functional matcher over stacked parameters and buffers. Seconds are
those of one iteration of all attacks (on a CPU the process's own), medians over iterations; `factor` is the median
over alternating rounds of those of `passes` divided by the way's, above 1 where the way is faster. Before the timing,
all have to agree in objective and gradient. The last line is JSON.
"""

import argparse
import itertools
import json
import statistics
import time
from typing import Any

import torch
from own_weights import VmapMatcher
from torch import Tensor, nn

from gradleak.attacks.gia_o import ImageSpace
from gradleak.data.opening import open_dataset
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Matcher, Targets
from gradleak.engine.descent import Descent, DescentConfig
from gradleak.engine.device import device_name, prepare_device
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import Classifier, batch_norm_layers, build_model
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import WeightedPriors
from gradleak.specs import ClientSpec, ModelSpec

RESOLUTION = 32
EXACT, TOLERANCE = 1e-9, 1e-3
MODELS = {
    "convnet": ModelSpec(name="convnet", options={"channels": 32, "stages": 2, "layers": 1, "kernel": 5, "norm": True}),
    "resnet18": ModelSpec(name="resnet18", width=0.25, options={"stem": "cifar"}),
    "resnet18-full": ModelSpec(name="resnet18", options={"stem": "cifar"}),
    "vgg11": ModelSpec(name="vgg11", width=0.25),
    "densenet43": ModelSpec(name="densenet43", width=0.25),
}


def main() -> None:
    arguments = _arguments()
    prepare_device(arguments.device, threads=arguments.threads, precision="float32")
    print(f"N = {arguments.samples}, {arguments.pairs} rounds, {device_name(arguments.device)}")
    rows = []
    for name in arguments.models:
        for checkpoints, trials in itertools.product(arguments.checkpoints, arguments.trials):
            rows += _compare(name, checkpoints, trials, arguments)
    print(json.dumps(rows))


def _compare(name: str, checkpoints: int, trials: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    ways = ["passes", *arguments.ways]
    attacks = _Attacks(name, checkpoints, trials, arguments, torch.float64)
    exact = {way: float(attacks.apart(way).max()) for way in ways}
    attacks = _Attacks(name, checkpoints, trials, arguments, torch.float32)
    # Rounding moves an activation across a kink now and then, which changes that trial's gradient: hence the median.
    apart = {way: float(attacks.apart(way).median()) for way in ways}
    if max(exact.values()) > EXACT or max(apart.values()) > TOLERANCE:
        raise SystemExit(f"{name}: objective or gradient differ from those of single passes: {exact}, {apart}")
    measured: dict[str, list[float]] = {way: [] for way in ways}
    for index in range(arguments.pairs + 1):
        for way in ways if index % 2 else reversed(ways):
            taken = attacks.seconds(way, arguments.iterations)
            if index:  # the first round warms up
                measured[way].append(taken)
    rows: list[dict[str, Any]] = []
    for way, seconds in measured.items():
        factors = [alone / other for alone, other in zip(measured["passes"], seconds, strict=True)]
        rows.append(
            {
                "model": name,
                "checkpoints": checkpoints,
                "trials": trials,
                "way": way,
                "iteration_s": statistics.median(seconds),
                "factor": statistics.median(factors),
                "least": min(factors),
                "most": max(factors),
                "apart_float64": exact[way],
                "apart_float32": apart[way],
            }
        )
        print(
            f"{name:10}  R {checkpoints}  T/R {trials}  {way:8} {1e3 * rows[-1]['iteration_s']:8.2f} ms  factor "
            f"{rows[-1]['factor']:.2f} ({min(factors):.2f} to {max(factors):.2f})  "
            f"apart {exact[way]:.0e} (float64), {apart[way]:.0e} (float32)",
            flush=True,
        )
    return rows


class _Attacks:
    """R models and the updates of a number of clients of each, all with victims of their own."""

    def __init__(
        self, name: str, checkpoints: int, trials: int, arguments: argparse.Namespace, dtype: torch.dtype
    ) -> None:
        dataset = open_dataset("photos10", RESOLUTION, {})
        samples, device = arguments.samples, arguments.device
        different = [_checkpoint(MODELS[name], seed, dataset).to(device, dtype) for seed in range(checkpoints)]
        self._models = [model for model in different for _ in range(trials)]
        self._checkpoints, self._device = checkpoints, device
        self._updates, self._labels = [], []
        for index, model in enumerate(self._models):
            victims = [(index * samples + sample) % dataset.size("test") for sample in range(samples)]
            images, labels = dataset.images("test", victims).to(device, dtype), dataset.labels("test", victims)
            labels = labels.to(device)
            update = SharedUpdate(
                update=local_update(model, images, labels, ClientSpec(samples=samples)),
                model=model,
                round=index // trials,
                samples=samples,
                image_shape=(3, RESOLUTION, RESOLUTION),
                num_classes=dataset.num_classes,
                labels=labels,
            )
            self._updates.append(update)
            self._labels.append(labels)
        shape = (len(self._models), samples, 3, RESOLUTION, RESOLUTION)
        self._start = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)

    def seconds(self, way: str, iterations: int) -> float:
        """Seconds of one iteration of all attacks."""
        return sum(self._descend(matcher, part, iterations) for matcher, part in self._matchers(way))

    def apart(self, way: str) -> Tensor:
        """Relative difference of each trial's objective or gradient (whichever is larger) from those of `passes`."""
        found, expected = self._evaluated(way), self._evaluated("passes")
        differences = [
            (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)
            for ours, theirs in zip(found, expected, strict=True)
        ]
        return torch.stack([difference.double() for difference in differences]).amax(dim=0)

    def _matchers(self, way: str) -> list[tuple[Matcher, slice]]:
        """The matchers of a way, each with the trials that it evaluates."""
        objective = OBJECTIVES["cosine"]
        if way == "vmap":
            return [(VmapMatcher(self._models, self._targets(slice(None)), objective), slice(None))]
        if way == "grouped":
            return [(ActivationMatcher(self._models, self._targets(slice(None)), objective), slice(None))]
        size = len(self._models) // self._checkpoints
        parts = [slice(first, first + size) for first in range(0, len(self._models), size)]
        return [(ActivationMatcher(self._models[p.start], self._targets(p), objective), p) for p in parts]

    def _targets(self, part: slice) -> Targets:
        return Targets.stack(self._updates[part], self._labels[part], self._device)

    def _evaluated(self, way: str) -> tuple[Tensor, Tensor]:
        space = ImageSpace(self._models[0])
        parts = [
            matcher(space.decode(self._start[part]), WeightedPriors({}, self._updates[part]))
            for matcher, part in self._matchers(way)
        ]
        return torch.cat([p.objective for p in parts])[:, None], torch.cat([p.gradient for p in parts])

    def _descend(self, matcher: Matcher, part: slice, iterations: int) -> float:
        priors = WeightedPriors({"tv": 1e-4}, self._updates[part])
        config = DescentConfig(iterations=iterations)
        clock = time.perf_counter if self._device.startswith("cuda") else time.process_time
        ticks: list[float] = []
        descent = Descent(self._start[part], ImageSpace(self._models[0]), matcher, priors, config)
        descent.run(progress=lambda _: ticks.append(clock()))
        return statistics.median(end - begin for begin, end in itertools.pairwise(ticks))


def _checkpoint(spec: ModelSpec, seed: int, dataset: Any) -> Classifier:
    """A model whose weights and statistics are those of no other seed."""
    spec = spec.model_copy(update={"init_seed": seed})
    model = build_model(spec, dataset.num_classes, RESOLUTION, dataset.mean, dataset.std)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # PyTorch's default weights shrink the signal by 6^(1/2) per ReLU layer
            module.weight.data *= 6**0.5
    for layer in batch_norm_layers(model).values():
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(0.2 * torch.randn(layer.running_mean.shape, generator=generator))
        layer.running_var.copy_(0.5 + torch.rand(layer.running_var.shape, generator=generator))
    return model


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="R checkpoints: one pass after the other, or one with all weights.")
    parser.add_argument(
        "--models", nargs="+", choices=list(MODELS), default=["convnet", "resnet18", "vgg11", "densenet43"]
    )
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[4, 8], help="R")
    parser.add_argument("--trials", type=int, nargs="+", default=[1], help="clients per checkpoint")
    parser.add_argument("--ways", nargs="+", choices=["vmap", "grouped"], default=["vmap", "grouped"])
    parser.add_argument("--samples", type=int, default=1, help="N, images per client")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=7, help="alternating rounds that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
