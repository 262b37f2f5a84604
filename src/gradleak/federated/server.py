"""The server: which clients take part in a round, and the average of what they share."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gradleak.federated.client import Parameters
from gradleak.models.base import batch_norm_layers


@dataclass(frozen=True)
class ClientUpdate:
    """What one client sends to the server.

    update: in the convention of `shared_update`, (W_0 - W_U) / lr for FedAvg, the gradient for FedSGD. statistics:
    running mean and variance of every batch-normalisation layer after local training. samples: images it has.
    """

    update: Parameters
    statistics: Parameters
    samples: int


def sample_clients(clients: int, sampled: int, random: np.random.Generator) -> list[int]:
    """The clients of a round, drawn without replacement, ascending."""
    return sorted(int(client) for client in random.choice(clients, sampled, replace=False))


def running_statistics(model: nn.Module) -> Parameters:
    """The running mean and variance of every batch-normalisation layer, by name: the live tensors."""
    found: Parameters = {}
    for name, layer in batch_norm_layers(model).items():
        for key in ("running_mean", "running_var"):
            value = getattr(layer, key)
            if value is not None:
                found[f"{name}.{key}"] = value
    return found


class Average:
    """The mean of clients' updates weighted by their numbers of samples, summed as they arrive.

    Updates and running statistics are averaged alike (FedAvg, McMahan et al. 2017). Other buffers of the model are
    the server's own.
    """

    def __init__(self, samples: int) -> None:
        """`samples`: images of all clients of the round."""
        self._samples = samples
        self._update: Parameters = {}
        self._statistics: Parameters = {}

    def add(self, client: ClientUpdate) -> None:
        """Add a client's share."""
        weight = client.samples / self._samples
        _accumulate(self._update, client.update, weight)
        _accumulate(self._statistics, client.statistics, weight)

    @torch.no_grad()
    def apply(self, model: nn.Module, lr: float) -> None:
        """Make the global model of the next round, in place: W - lr * mean update, and the mean statistics."""
        for name, value in model.named_parameters():
            if name in self._update:  # clients do not send what is frozen
                value.sub_(lr * self._update[name])
        for name, statistic in running_statistics(model).items():
            statistic.copy_(self._statistics[name])


def _accumulate(total: dict[str, Tensor], values: Parameters, weight: float) -> None:
    for name, value in values.items():
        total[name] = total[name] + weight * value if name in total else weight * value
