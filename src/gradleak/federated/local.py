"""Local training of a client in a round: steps on its mini-batches, batch normalisation in training mode."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradleak.data.pool import ImagePool
from gradleak.federated.client import parameters_of
from gradleak.federated.optimizer import Memory, directions
from gradleak.federated.server import ClientUpdate, running_statistics
from gradleak.specs import FederatedSpec


def train_client(model: nn.Module, pool: ImagePool, rows: Tensor, spec: FederatedSpec, seed: int) -> ClientUpdate:
    """Train `model`, the client's copy of the global model, in place, and return what the client shares.

    rows: int64 (n,), the client's images in the pool. FedAvg: E epochs, each in a new order; FedSGD: the gradient of
    the first mini-batch. `seed` decides order, flips and dropout. Global generators are restored.
    """
    model.train()
    device = next(model.parameters()).device
    random = torch.Generator().manual_seed(seed)
    start = {name: value.clone() for name, value in parameters_of(model).items()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout layers read the global generator
        if spec.protocol == "fedsgd":
            _gradient(model, pool, next(_minibatches(rows, spec, random)), spec, random)
            gradients = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
            update = {name: torch.zeros_like(start[name]) if g is None else g for name, g in gradients.items()}
        else:
            memory: dict[str, Memory] = {}
            for _ in range(spec.local_epochs):
                for chosen in _minibatches(rows, spec, random):
                    _gradient(model, pool, chosen, spec, random)
                    memory = _descend(model, memory, spec)
            end = parameters_of(model)
            update = {name: (start[name] - end[name]) / spec.lr for name in start}
    statistics = {name: value.clone() for name, value in running_statistics(model).items()}
    return ClientUpdate(update, statistics, len(rows))


def _gradient(model: nn.Module, pool: ImagePool, chosen: Tensor, spec: FederatedSpec, random: torch.Generator) -> None:
    """Leave the gradient of the mean loss of the chosen images in the model."""
    parameter = next(model.parameters())
    images, labels = pool.take(chosen)
    images, labels = images.to(parameter), labels.to(parameter.device)
    if spec.augment == "flip":
        mirrored = torch.rand(len(chosen), generator=random) < 0.5
        images = torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)
    model.zero_grad()
    with torch.autocast(parameter.device.type, torch.bfloat16, enabled=spec.precision == "mixed"):
        loss = F.cross_entropy(model(images), labels)
    loss.backward()


@torch.no_grad()
def _descend(model: nn.Module, memory: dict[str, Memory], spec: FederatedSpec) -> dict[str, Memory]:
    """One step in place, and the memory after it. Parameters without a gradient stay.

    Not by `torch.optim`, whose first step loads PyTorch's compiler: longer than many a training here.
    """
    own = {name: parameter for name, parameter in model.named_parameters() if parameter.grad is not None}
    gradients = {name: parameter.grad for name, parameter in own.items() if parameter.grad is not None}
    found, memory = directions(spec, own, gradients, memory)
    for name, parameter in own.items():
        parameter.add_(found[name], alpha=-spec.lr)
    return memory


def _minibatches(rows: Tensor, spec: FederatedSpec, random: torch.Generator) -> Iterator[Tensor]:
    """The rows in a random order, cut into mini-batches.

    The last may be smaller, but not a single image: batch normalisation has no variance of one value, so that image
    joins the mini-batch before.
    """
    order = rows[torch.randperm(len(rows), generator=random)]
    size = min(len(rows), spec.batch_size or len(rows))
    cuts = list(range(size, len(rows), size))
    if size > 1 and cuts and len(rows) - cuts[-1] == 1:
        cuts.pop()
    yield from torch.tensor_split(order, cuts)
