"""GIA-O: gradient inversion in the observable (image) space (Definition 1, Eq. 1)."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import field_validator
from torch import Tensor

from gradleak.attacks.base import ATTACKS, Attack, AttackConfig, Reconstruction, RunContext
from gradleak.attacks.labels import infer_labels
from gradleak.engine import activation
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Matcher, Targets
from gradleak.engine.descent import Descent, DescentConfig, StateFile
from gradleak.engine.device import halve_on_oom, trials_that_fit
from gradleak.engine.functional import FunctionalMatcher
from gradleak.errors import UserError
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.base import Classifier
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import PRIORS, WeightedPriors, prior_level


class GiaOConfig(AttackConfig):
    """Objective, weighted priors, initialisation and descent.

    The defaults are those of Geiping et al. 2020 but for the schedule.
    """

    name: Literal["gia-o"] = "gia-o"
    objective: str = "cosine"
    priors: Mapping[str, float] = {}
    init: Literal["normal", "uniform", "grey"] = "normal"
    descent: DescentConfig = DescentConfig()

    @property
    def total_iterations(self) -> int:
        """Iterations of one restart."""
        return self.descent.iterations

    def origins(self) -> list[str]:
        """Modules of the objective and the priors."""
        return [OBJECTIVES.origin(self.objective), *(PRIORS.origin(name) for name in self.priors)]

    @field_validator("objective")
    @classmethod
    def _known_objective(cls, name: str) -> str:
        OBJECTIVES[name]  # raises if unknown
        return name

    @field_validator("priors")
    @classmethod
    def _known_priors(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        for name, weight in weights.items():
            PRIORS[name]  # raises if unknown
            if weight < 0 or not math.isfinite(weight):
                raise ValueError(f"weight of prior '{name}' is {weight}; it must be a finite number from 0 up")
        return dict(sorted(weights.items()))


class ImageSpace:
    """Pixels, in the units of the model's normalised input, in which the literature quotes learning rates."""

    def __init__(self, model: Classifier) -> None:
        self._mean, self._std = model.normalise.mean, model.normalise.std

    def decode(self, variables: Tensor) -> Tensor:
        """Candidates in image units; inside [0, 1] if the box constraint is on."""
        return variables * self._std + self._mean

    def project(self, variables: Tensor) -> Tensor:
        """Clamp to what pixels in [0, 1] map to."""
        low, high = -self._mean / self._std, (1 - self._mean) / self._std
        return torch.minimum(torch.maximum(variables, low), high)


@ATTACKS.register("gia-o")
class GiaO(Attack):
    """Optimises T x R candidates at once, in passes that fit into the device's memory."""

    Config = GiaOConfig

    @classmethod
    def level(cls, config: AttackConfig) -> int:
        """Level 0 for gradient matching alone, 1 with p_TV, 3 if it simulates the client, 4 with p_BN."""
        assert isinstance(config, GiaOConfig)
        return max(prior_level(config.priors), 3 if config.knowledge == "wst" else 0)

    @classmethod
    def run(
        cls, config: AttackConfig, updates: list[SharedUpdate], seeds: list[int], context: RunContext
    ) -> Reconstruction:
        """See `Attack.run`."""
        assert isinstance(config, GiaOConfig)
        restarts = config.restarts
        trials = [(update, seed, r) for update, seed in zip(updates, seeds, strict=True) for r in range(restarts)]
        first = updates[0]
        model = first.model
        assert isinstance(model, Classifier)
        model = model.to(context.device)
        training = _simulated_training(config, first)
        steps = training.epochs * -(-first.samples // training.batch_size) if training else 1

        def attack(size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
            passes = [trials[start : start + size] for start in range(0, len(trials), size)]
            return [_attack_pass(config, part, model, context, f"{i}-{size}") for i, part in enumerate(passes)]

        size = min(len(trials), trials_that_fit(model, first.image_shape, first.samples, steps))
        parts = halve_on_oom(attack, size)
        images, objective, iterations = (torch.cat(column) for column in zip(*parts, strict=True))
        shape = (len(updates), restarts)
        return Reconstruction(images.view(*shape, *images.shape[1:]), objective.view(shape), iterations.view(shape))


def _attack_pass(
    config: GiaOConfig,
    trials: Sequence[tuple[SharedUpdate, int, int]],
    model: Classifier,
    context: RunContext,
    label: str,
) -> tuple[Tensor, Tensor, Tensor]:
    updates = [update for update, _, _ in trials]
    labels = [_labels(config, update) for update in updates]
    targets = Targets.stack(updates, labels, context.device)
    matcher = _matcher(config, model, targets, updates[0])
    space = ImageSpace(model)
    start = torch.stack([_start(config, update, seed + restart) for update, seed, restart in trials])
    start = start.to(next(model.parameters()))
    priors = WeightedPriors(config.priors, [_on_device(update, context.device) for update in updates])
    store = None
    if context.state is not None:
        identity = _identity(config, trials, model)
        store = StateFile(context.state / f"{label}.safetensors", identity, context.save_every_s)
    descent = Descent(space.project(start) if config.descent.box else start, space, matcher, priors, config.descent)
    outcome = descent.run(store, context.progress)
    images = space.decode(outcome.variables.to(context.device)).clamp(0, 1).cpu()
    return images, outcome.objective, outcome.iterations


def _identity(config: GiaOConfig, trials: Sequence[tuple[SharedUpdate, int, int]], model: Classifier) -> str:
    """Hash of all that decides a pass: a saved state belongs to it or is ignored."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    for value in model.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    for update, seed, restart in trials:
        digest.update(f"{seed} {restart} {update.training}".encode())
        statistics = [value for pair in update.batch_statistics or [] for value in pair]
        labels = [] if update.labels is None else [update.labels]
        for value in [*update.update.values(), *labels, *statistics]:
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _simulated_training(config: GiaOConfig, update: SharedUpdate) -> LocalTraining | None:
    """The local training that case `wst` simulates; None in case `bst`, which takes the update for one gradient."""
    if config.knowledge == "bst":
        return None
    if update.training is None:
        raise UserError("attack 'gia-o' with knowledge 'wst' needs the training details (knowledge level 3)")
    return update.training


def _matcher(config: GiaOConfig, model: Classifier, targets: Targets, update: SharedUpdate) -> Matcher:
    objective = OBJECTIVES[config.objective]
    training = _simulated_training(config, update)
    if training is None and activation.supports(model):
        return ActivationMatcher(model, targets, objective)
    return FunctionalMatcher(model, targets, objective, training)


def _labels(config: GiaOConfig, update: SharedUpdate) -> Tensor:
    if config.labels == "inferred" or update.labels is None:
        return infer_labels(update)
    return update.labels


def _start(config: GiaOConfig, update: SharedUpdate, seed: int) -> Tensor:
    shape = (update.samples, *update.image_shape)
    generator = torch.Generator().manual_seed(seed % 2**63)
    if config.init == "normal":
        return torch.randn(shape, generator=generator)
    if config.init == "uniform":
        return 2 * torch.rand(shape, generator=generator) - 1
    return torch.zeros(shape)


def _on_device(update: SharedUpdate, device: str) -> SharedUpdate:
    if update.batch_statistics is None:
        return update
    statistics = [(mean.to(device), variance.to(device)) for mean, variance in update.batch_statistics]
    return replace(update, batch_statistics=statistics)
