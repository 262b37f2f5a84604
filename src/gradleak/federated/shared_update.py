"""What the server sees of one client: the only thing that an attack receives.

Convention, here and nowhere else. FedSGD shares the gradient of the mean loss over the N samples. FedAvg shares the
model W_U, of which the server takes W_U - W_0: `difference`, which it has whatever it knows of the client (level 0).
`update` is what attacks match, in the sign and scale of a *summed gradient*: FedSGD's gradient, or
(W_0 - W_U) / eta = -difference / eta, which for plain SGD equals the sum of the U local gradients. The paper gives
(W_U - W_0) / eta to every adversary (Sec. 4.1), the same up to sign. The direction does not depend on eta.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gradleak.post_processing.base import Defense
from gradleak.specs import ClientSpec

_ZERO = 1e-15


@dataclass(frozen=True)
class LocalTraining:
    """Client-side training details (knowledge level 3): mini-batch size B, epochs E, learning rate eta, the optimizer.

    With `shuffle` the client draws its mini-batches anew each epoch. The server knows that it does, not what it draws.
    """

    batch_size: int
    epochs: int
    lr: float
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    shuffle: bool = False

    @classmethod
    def of(cls, client: ClientSpec) -> "LocalTraining":
        """What a client's settings say of it."""
        own = client.optimizer, client.momentum, client.weight_decay, client.shuffle
        return cls(client.minibatch, client.epochs, client.lr, *own)

    def steps(self, samples: int) -> int:
        """U of a client with N samples."""
        return self.epochs * -(-samples // self.batch_size)


#: Mean and biased variance per channel of the input of each batch-normalisation layer, in module order.
BatchStatistics = list[tuple[Tensor, Tensor]]


class Scaled(Mapping[str, Tensor]):
    """Tensors times a number, each made when it is asked for: updates are large, and most attacks do not ask."""

    def __init__(self, tensors: Mapping[str, Tensor], factor: float) -> None:
        self._tensors, self._factor = tensors, factor

    def __getitem__(self, name: str) -> Tensor:
        return self._factor * self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@dataclass(frozen=True)
class SharedUpdate:
    """One client's update as the server receives it, with what the granted knowledge level adds.

    update: parameter name -> tensor of the parameter's shape, in the convention above, after the client's
    post-processing. difference: W_U - W_0 by the same names, or None where one gradient is shared. model: the global
    model of `round` (batch normalisation in the client's mode). samples: N. image_shape: (3, H, W), or (1, H, W) for a
    model of grey images.
    labels: int64 (N,), in the order of the client's mini-batches, or None where the adversary has to infer them.
    steps: U, how many steps the client took. As eta it belongs to the convention above, so every adversary has it;
    it follows from the training details where they are given. None: not told.
    training: level 3. batch_statistics: level 4. post_processing: level 3, as it is a detail of the client's side (the
    empty chain: the adversary knows that there is none; None: it does not know); `chain.expectation` makes of it what
    an adaptive adversary matches.
    """

    update: Mapping[str, Tensor]
    model: nn.Module
    round: int
    samples: int
    image_shape: tuple[int, int, int]
    num_classes: int
    labels: Tensor | None = None
    training: LocalTraining | None = None
    batch_statistics: BatchStatistics | None = None
    post_processing: tuple[Defense, ...] | None = None
    steps: int | None = None
    difference: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        """Derive U where it is not given."""
        if self.steps is None and self.training is not None:
            object.__setattr__(self, "steps", self.training.steps(self.samples))

    @property
    def fault(self) -> str | None:
        """Why nobody can learn anything from the update, in words; None where one can.

        Zero is a norm below `_ZERO`, where the arithmetic of float32 ends. A converged model's gradient may be that.
        """
        if not all(bool(value.isfinite().all()) for value in self.update.values()):
            return "the update is not finite"
        norm = math.sqrt(sum(float(value.double().square().sum()) for value in self.update.values()))
        return "the update is zero" if norm < _ZERO else None

    def model_at(self, alpha: float) -> nn.Module:
        """The model at W_0 + alpha (W_U - W_0): a copy, with the buffers of W_0.

        `model` itself for alpha 0, and where the client shares one gradient: there is no other point than W_0.
        """
        if self.difference is None or alpha == 0:
            return self.model
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.difference:
                    parameter.add_(self.difference[name].to(parameter.device), alpha=alpha)
        return model

    def restricted(self, level: int) -> "SharedUpdate":
        """The same update without what a knowledge level below 3 or 4 does not grant (Sec. 2.2)."""
        return replace(
            self,
            training=self.training if level >= 3 else None,
            batch_statistics=self.batch_statistics if level >= 4 else None,
            post_processing=self.post_processing if level >= 3 else None,
        )
