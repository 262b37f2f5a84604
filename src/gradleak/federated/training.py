"""Federated training over rounds: sampling, local training one client after the other, averaging, accuracy."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gradleak.data.pool import ImagePool
from gradleak.errors import UserError
from gradleak.federated.local import train_client
from gradleak.federated.server import Average, ClientUpdate, sample_clients
from gradleak.federated.split import split_images
from gradleak.frozen import digest
from gradleak.post_processing.chain import apply_chain
from gradleak.specs import FederatedSpec

_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Accuracy:
    """How good the global model of a round is on test images: share that it labels right, and mean cross-entropy."""

    round: int
    images: int
    accuracy: float
    loss: float


class FederatedTraining:
    """A server with its clients. The global model is trained in place and is in evaluation mode between rounds.

    A round's result depends on the global model before it, the settings, `identity` and the round's number only: every
    random draw is seeded by identity, round and client, so that a training may go on from any round.
    """

    def __init__(
        self,
        model: nn.Module,
        pool: ImagePool,
        spec: FederatedSpec,
        identity: str,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """`pool` holds the images of all clients. `progress` counts clients that have trained."""
        self.model = model.eval()
        self._local = copy.deepcopy(model)
        self._pool, self._spec, self._identity = pool, spec, identity
        self._progress = progress
        labels = pool.labels.cpu().numpy()
        self.parts = [torch.from_numpy(part) for part in split_images(labels, spec, self._random("split"))]

    def run_round(self, number: int) -> None:
        """Train the global model of round `number - 1` to that of round `number`."""
        spec = self._spec
        chosen = sample_clients(spec.clients, spec.participants, self._random("clients", number))
        average = Average(sum(len(self.parts[client]) for client in chosen))
        for client in chosen:
            self._local.load_state_dict(self.model.state_dict())
            shared = train_client(self._local, self._pool, self.parts[client], spec, self._seed(number, client))
            average.add(self._post_processed(shared, number, client))
            if self._progress is not None:
                self._progress(1)
        average.apply(self.model, spec.lr)

    @torch.no_grad()
    def evaluate(self, test: ImagePool, number: int) -> Accuracy:
        """The accuracy of the global model, which is that of round `number`.

        Raises UserError where the loss is no finite number: the training has diverged.
        """
        parameter = next(self.model.parameters())
        right, loss = 0, 0.0
        for rows in torch.arange(test.size).split(_EVALUATION_BATCH):
            images, labels = test.take(rows)
            images, labels = images.to(parameter), labels.to(parameter.device)
            with torch.autocast(parameter.device.type, torch.bfloat16, enabled=self._spec.precision == "mixed"):
                logits = self.model(images)
            right += int((logits.argmax(dim=1) == labels).sum())
            loss += float(F.cross_entropy(logits.double(), labels, reduction="sum"))
        if not np.isfinite(loss):
            raise UserError(
                f"federated training diverged in round {number}: the test loss is {loss}; "
                f"model.training.lr is {self._spec.lr}, try a smaller one"
            )
        return Accuracy(number, test.size, right / test.size, loss / test.size)

    def _post_processed(self, shared: ClientUpdate, number: int, client: int) -> ClientUpdate:
        """What a client sends after post-processing. Running statistics are sent as they are."""
        device = next(self.model.parameters()).device
        random = torch.Generator(device).manual_seed(self._seed("post-processing", number, client))
        return replace(shared, update=apply_chain(self._spec.post_processing, shared.update, random).update)

    def _seed(self, *key: object) -> int:
        return int(digest([self._identity, *key]), 16) % 2**63

    def _random(self, *key: object) -> np.random.Generator:
        return np.random.default_rng(self._seed(*key))
