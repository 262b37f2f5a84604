"""The cost of computing: floating-point and started operations of attacks and trainings, and the seconds they take."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import ceil
from typing import Any

import torch
import yaml
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gradleak.auxiliary.base import Auxiliary
from gradleak.data.opening import open_view
from gradleak.engine.device import most_trials
from gradleak.errors import UserError, first_line
from gradleak.models.base import build_model
from gradleak.specs import ModelSpec
from gradleak.study.cell import Cell
from gradleak.study.config import Config

# One evaluation costs about seven forward passes: forward, backward, the weights' gradient or its pairing, and the
# four products of the second differentiation.
_PASSES = 7.0

# Simulating the client costs more than its passes: every step's weights differ per trial. Each step starts its own
# operations. Measured on the ConvNet of the quick study and narrow ResNet-18, U=1 to 6.
_SIMULATION = 1.5

# Training: forward, and backward to the activations and to the weights.
_TRAINING_PASSES = 3.0

# Gradients at other points, or derivatives of them along directions: docs/smoothness.md has the times measured.
_DRAW_PASSES = {"finite": 3.0, "forward": 4.0}
_PRECISION = {"float64": 2.0, "float32": 1.0}

# Spread of draws over their mean, as found: it decides how many reach `relative_error`. The first look is at 128.
_DRAW_SPREAD = {"finite": 1.0, "forward": 0.05}
_FEWEST_DRAWS = 128

# Of a model; its weights alone would take 40 GB.
_MOST_PARAMETERS = 10_000_000_000

# Train and test images of a data set that is not there yet: those of CIFAR-10.
_UNKNOWN_SIZES = 50_000, 10_000

# What a descent starts in an iteration beside evaluating: priors, Adam, the record of the best.
_DESCENT_STARTS = 60.0

# A training step of a generator or enhancer: some dozen layers in two networks, forward, backward and Adam.
_AUXILIARY_STARTS = 500.0

# Images of a forward pass that measures an accuracy.
_EVALUATED_AT_ONCE = 256

#: Seconds that a job takes before it computes: start of Python, imports, model and data.
JOB_START_S = 10.0


@dataclass(frozen=True)
class Cost:
    """What computing takes: floating-point operations, and how many operations of the framework are started.

    A start takes a time of its own, whatever the operation's size: a narrow network's iteration is bound by them.
    """

    operations: float = 0.0
    started: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.operations + other.operations, self.started + other.started)

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.operations * times, self.started * times)


@dataclass(frozen=True)
class Throughput:
    """How fast one job is on a kind of device. `measured` is false for an assumption, `what` says of what."""

    flops_per_s: float
    start_s: float
    measured: bool
    what: str

    def seconds(self, cost: Cost) -> float:
        """Estimated seconds."""
        return cost.operations / self.flops_per_s + cost.started * self.start_s


def cost(cell: Cell, device: str, before: int = 0) -> Cost:
    """Estimated cost of a cell's attack on a kind of device, in a run that attacks `before` trials of its family too.

    The trials of a pass share its starts, so a cell that fills up a pass adds operations alone.
    """
    attack, client = cell.attack, cell.client
    forward = forward_cost(cell.model, cell.dataset.resolution)
    trials = Cost(operations(forward.operations, client.samples) * attack.starts)
    passes = Cost(started=iteration_starts(forward.started))
    if attack.knowledge == "wst":
        trials, passes = trials * (_SIMULATION * client.epochs), passes * client.updates
    at_once = most_trials(device, client.samples)
    begun = ceil((before + attack.starts) / at_once) - ceil(before / at_once)
    return (trials + passes * begun) * (attack.total_iterations * attack.cost_factor())


def batch_cost(cells: Iterable[Cell], device: str) -> Cost:
    """Estimated cost of the attacks of cells that one job computes, each family in one run."""
    total, trials = Cost(), Counter[str]()
    for cell in cells:
        total += cost(cell, device, trials[cell.family])
        trials[cell.family] += cell.attack.starts
    return total


def smoothness_cost(cell: Cell, device: str) -> Cost:
    """Estimated cost of a cell's IGSA; nothing where it does not ask for it."""
    spec = cell.smoothness
    if spec is None:
        return Cost()
    draws = float(spec.samples)
    if spec.relative_error:
        draws = min(draws, max(_FEWEST_DRAWS, (_DRAW_SPREAD[spec.method] / spec.relative_error) ** 2))
    forward, samples = forward_cost(cell.model, cell.dataset.resolution), cell.client.samples
    chunks = ceil(draws / most_trials(device, samples))
    found = Cost(forward.operations * samples * _PRECISION[spec.precision] * draws, forward.started * chunks)
    return found * _DRAW_PASSES[spec.method]


def federated_cost(cell: Cell, config: Config) -> Cost:
    """Estimated cost of the federated training up to the round that a cell attacks, with its accuracies."""
    spec = cell.model.training
    assert spec is not None
    train, test = _sizes(cell, config)
    images, evaluated = spec.images or train, spec.evaluate or test
    passes = _TRAINING_PASSES * spec.passes(images) + evaluated
    starts = _TRAINING_PASSES * spec.steps(images) + ceil(evaluated / _EVALUATED_AT_ONCE)
    forward = forward_cost(cell.model, cell.dataset.resolution)
    return Cost(forward.operations * passes, forward.started * starts) * cell.model.round


def auxiliary_cost(auxiliary: Auxiliary) -> Cost:
    """Estimated cost of training an auxiliary model."""
    return Cost(auxiliary.training_cost(), _AUXILIARY_STARTS * auxiliary.total_steps)


def _sizes(cell: Cell, config: Config) -> tuple[int, int]:
    try:
        dataset = open_view(cell.training_data, config.data, config.cache)
        return dataset.size("train"), dataset.size("test")
    except UserError:
        return _UNKNOWN_SIZES  # not downloaded yet


def operations(forward: float, samples: int) -> float:
    """Operations of one evaluation of N images whose forward pass takes `forward` operations each."""
    return _PASSES * forward * samples


def iteration_starts(forward: float) -> float:
    """Operations that an iteration of a pass starts, of a model whose forward pass starts `forward`."""
    return _PASSES * forward + _DESCENT_STARTS


@cache
def recorded_throughput() -> dict[str, Throughput]:
    """What estimates rest on, by kind of device: `resources/throughput.yaml`."""
    text = resources.files("gradleak.resources").joinpath("throughput.yaml").read_text(encoding="utf-8")
    return {kind: Throughput(**entry) for kind, entry in yaml.safe_load(text).items()}


class _Starts(TorchDispatchMode):
    """Counts the operations that are started: all but views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@cache
def _forward_of(model: str, resolution: int) -> Cost:
    spec = ModelSpec.model_validate_json(model)
    where = f"model '{spec.name}' with width {spec.width:g} and options {spec.options}"
    with torch.device("meta"):
        network = build_model(spec, 10, resolution, *[(0.5,) * spec.channels] * 2)
        images = torch.zeros(1, spec.channels, resolution, resolution)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if parameters > _MOST_PARAMETERS:
        raise UserError(f"{where} has {parameters:,} parameters; at most {_MOST_PARAMETERS:,}")
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, nn.ReLU())  # counts the same, and takes a small part of the time
    try:
        with _Starts() as starts, FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{where} does not take {resolution}x{resolution} images ({first_line(error)})") from None
    return Cost(float(counter.get_total_flops()), float(starts.count))


def forward_cost(model: ModelSpec, resolution: int) -> Cost:
    """Cost of one image's forward pass."""
    return _forward_of(model.model_dump_json(exclude={"round", "init_seed", "training"}), resolution)


def forward_flops(model: ModelSpec, resolution: int) -> float:
    """Floating-point operations of one image's forward pass."""
    return forward_cost(model, resolution).operations
