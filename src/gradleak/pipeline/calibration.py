"""A quick calibration: how many operations per second the attack engine reaches on this machine."""

import time

import torch

from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Targets
from gradleak.engine.device import prepare_device, resolve_device
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import build_model
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import WeightedPriors
from gradleak.specs import ClientSpec, ModelSpec
from gradleak.study.config import Config
from gradleak.study.cost import forward_flops, operations

_SECONDS = 3.0


def measured_throughput(config: Config) -> float:
    """Operations per second, in the units of `cost.cost`, of the engine on a narrow ResNet-18, N=4, 16 trials."""
    device = resolve_device(config.device)
    prepare_device(device, config.threads, config.precision)
    spec, samples, trials = ModelSpec(name="resnet18", width=0.25), 4, 16
    model = build_model(spec, 10, 32, (0.5,) * 3, (0.25,) * 3).to(device)
    images = torch.rand(samples, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(samples, device=device)
    update = local_update(model, images, labels, ClientSpec(samples=samples))
    shared = [SharedUpdate(update, model, 0, samples, (3, 32, 32), 10, labels)] * trials
    matcher = ActivationMatcher(model, Targets.stack(shared, [labels] * trials, device), OBJECTIVES["cosine"])
    priors = WeightedPriors({"tv": 0.01}, shared)
    candidates = torch.full((trials, samples, 3, 32, 32), 0.5, device=device)
    matcher(candidates, priors)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < _SECONDS:
        float(matcher(candidates, priors).objective.sum())
        count += 1
    seconds = time.perf_counter() - started
    return operations(forward_flops(spec, 32), samples) * trials * count / seconds
