"""Attacks clients that have tuning images, and measures the LPIPS of each image."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gradleak.attacks.base import Attack, RunContext, Trial
from gradleak.data.roles import TuningImages
from gradleak.engine.descent import Diverged
from gradleak.errors import UserError
from gradleak.federated.shared_update import SharedUpdate
from gradleak.frozen import digest
from gradleak.metrics.lpips import Lpips
from gradleak.metrics.matching import match
from gradleak.stages.auxiliaries import auxiliary_loader
from gradleak.stages.common import dataset_of
from gradleak.stages.federate import model_of
from gradleak.stages.session import Count, Session, silent
from gradleak.stages.update import InMemory, pack_update, unpack_update
from gradleak.study.config import Config
from gradleak.tuning.search import Search

Scores = list[float] | None
"""LPIPS of every image of all clients, in order; None where the objective of an attack was no finite number."""


@dataclass(frozen=True)
class TuningClient:
    """A client's images (N, 3, H, W) in [0, 1], what it shares, and the seed of all attacks on it."""

    images: Tensor
    update: SharedUpdate
    seed: int


def tuning_clients(search: Search, config: Config, session: Session) -> list[TuningClient]:
    """The clients of the search, then as many of the validation; their updates are computed as the stage does.

    A federated round that the cache lacks is trained first, on the session's device.
    The seed of a client is the same for every candidate. Raises UserError if there are not enough tuning images.
    """
    cell, trials = search.cell, search.spec.trials
    dataset = dataset_of(cell, config)
    tuning = TuningImages(dataset)
    samples, count = cell.client.samples, 2 * trials.count
    needed = trials.first + count * samples
    if needed > tuning.size:
        raise UserError(
            f"{search.where}: trials: 2 x {trials.count} clients (search, validation) of {samples} images from "
            f"{trials.first} on need {needed} tuning images; data set '{tuning.name}' has {tuning.size}"
        )
    model = model_of(cell, config, config.cache / "checkpoints", session)
    clients = []
    for index in range(count):
        first = trials.first + index * samples
        indices = range(first, first + samples)
        images = tuning.images(indices)
        content = InMemory(pack_update(cell, model, images, tuning.labels(indices)))
        update = unpack_update(cell, content, set(content), model)
        clients.append(TuningClient(images, update, int(digest([search.spec.seed, index]), 16)))
    return clients


class Evaluator:
    """Runs candidates against clients, as many as can at once."""

    def __init__(self, config: Config, auxiliaries: Path, session: Session) -> None:
        """`auxiliaries`: folder of the trained models that attacks need."""
        self._session = session
        self._auxiliary = auxiliary_loader(config, auxiliaries)
        self._lpips = Lpips(config.cache)

    def __call__(self, attacks: Mapping[int, Attack], clients: Sequence[TuningClient], label: str) -> dict[int, Scores]:
        """Scores of each candidate by its number. Equal attacks are run once."""
        groups: dict[str, dict[str, Attack]] = defaultdict(dict)
        for attack in attacks.values():
            groups[attack.batch_key()][attack.model_dump_json()] = attack
        total = sum(max(attack.total_iterations for attack in group.values()) for group in groups.values())
        count = self._session.progress(f"{label}, {len(attacks)} candidates", total)
        scores: dict[str, Scores] = {}
        for group in groups.values():
            scores |= dict(zip(group, self._run(list(group.values()), clients, count), strict=True))
        return {number: scores[attack.model_dump_json()] for number, attack in attacks.items()}

    def _run(self, attacks: list[Attack], clients: Sequence[TuningClient], count: Count) -> list[Scores]:
        """Scores of attacks that can run together. One that fails must not hide the others: they run alone then."""
        context = RunContext(device=self._session.device, progress=count, auxiliary=self._auxiliary)
        trials = [Trial(attack, client.update, client.seed) for attack in attacks for client in clients]
        try:
            found = attacks[0].run(trials, context)
        except Diverged:
            if len(attacks) == 1:
                return [None]
            # Their iterations are counted already.
            return [scores for attack in attacks for scores in self._run([attack], clients, silent("", 0))]
        values: list[Scores] = []
        for first in range(0, len(trials), len(clients)):
            per_image: list[float] = []
            for index, client in enumerate(clients, first):
                # As `stages.score` does: the objective picks the restart, the metric has no say.
                images = found.images[index, int(found.objective[index].argmin())]
                per_image += self._lpips(client.images, images[match(client.images, images)]).tolist()
            values.append(per_image)
        return values
