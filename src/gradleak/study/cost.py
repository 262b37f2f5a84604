"""The cost of computing: floating-point operations of attacks and trainings, and recorded operations per second."""

from functools import cache
from importlib import resources
from typing import Any

import torch
import yaml
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from gradleak.data.opening import open_view
from gradleak.errors import UserError, first_line
from gradleak.models.base import build_model
from gradleak.specs import ModelSpec
from gradleak.study.cell import Cell
from gradleak.study.config import Config

# One evaluation costs about seven forward passes: forward, backward, the weights' gradient or its pairing, and the
# four products of the second differentiation.
_PASSES = 7.0

# Simulating the client costs more than its passes: every step's weights differ per trial. Measured on ResNet-18 at a
# quarter of its width, B=1, U=2 to 6.
_SIMULATION = 3.5

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

#: Seconds that a job takes before it computes: start of Python, imports, model and data.
JOB_START_S = 10.0


def cost(cell: Cell) -> float:
    """Estimated floating-point operations of a cell's attack."""
    attack = cell.attack
    passes = _SIMULATION * cell.client.epochs if attack.knowledge == "wst" else 1
    iterations = attack.total_iterations
    forward = forward_flops(cell.model, cell.dataset.resolution)
    return operations(forward, cell.client.samples) * passes * iterations * attack.restarts * attack.cost_factor()


def smoothness_cost(cell: Cell) -> float:
    """Estimated operations of a cell's IGSA; 0 where it does not ask for it."""
    spec = cell.smoothness
    if spec is None:
        return 0.0
    draws = float(spec.samples)
    if spec.relative_error:
        draws = min(draws, max(_FEWEST_DRAWS, (_DRAW_SPREAD[spec.method] / spec.relative_error) ** 2))
    passes = _DRAW_PASSES[spec.method] * _PRECISION[spec.precision] * draws
    return forward_flops(cell.model, cell.dataset.resolution) * cell.client.samples * passes


def federated_cost(cell: Cell, config: Config) -> float:
    """Estimated operations of the federated training up to the round that a cell attacks, with its accuracies."""
    spec = cell.model.training
    assert spec is not None
    train, test = _sizes(cell, config)
    passes = _TRAINING_PASSES * spec.passes(spec.images or train) + (spec.evaluate or test)
    return forward_flops(cell.model, cell.dataset.resolution) * passes * cell.model.round


def _sizes(cell: Cell, config: Config) -> tuple[int, int]:
    try:
        dataset = open_view(cell.training_data, config.data, config.cache)
        return dataset.size("train"), dataset.size("test")
    except UserError:
        return _UNKNOWN_SIZES  # not downloaded yet


def operations(forward: float, samples: int) -> float:
    """Operations of one evaluation of N images whose forward pass takes `forward` operations each."""
    return _PASSES * forward * samples


def throughput(config: Config) -> float:
    """Operations per second of one job on the device that costs are estimated for, from the recorded benchmarks."""
    return float(recorded_throughput()[config.estimated_device]["flops_per_s"])


@cache
def recorded_throughput() -> dict[str, Any]:
    """The benchmarks that estimates rest on: `resources/throughput.yaml`."""
    text = resources.files("gradleak.resources").joinpath("throughput.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@cache
def _flops_of(model: str, resolution: int) -> float:
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
                setattr(module, name, nn.Identity())  # it counts nothing, and takes most of the time of counting
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{where} does not take {resolution}x{resolution} images ({first_line(error)})") from None
    return float(counter.get_total_flops())


def forward_flops(model: ModelSpec, resolution: int) -> float:
    """Floating-point operations of one image's forward pass."""
    return _flops_of(model.model_dump_json(exclude={"round", "init_seed", "training"}), resolution)
