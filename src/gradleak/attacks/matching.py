"""Gradient matching, which all optimisation-based attacks share: settings, passes over trials, the problem."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from gradleak.attacks.base import Attack, Reconstruction, RunContext, Trial
from gradleak.attacks.labels import infer_labels, spread_over_batches
from gradleak.attacks.meter import Meter
from gradleak.attacks.surrogate import LearnedPoint, Surrogate
from gradleak.engine import activation
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Matcher, Priors, Targets, no_priors
from gradleak.engine.descent import Descent, DescentConfig, Outcome, SearchSpace
from gradleak.engine.device import halve_on_oom, precision, trials_by_memory, trials_that_fit
from gradleak.engine.functional import FunctionalMatcher, OneByOneMatcher
from gradleak.engine.whitening import Whitening
from gradleak.errors import UserError
from gradleak.federated.client import batch_statistics_of, batch_statistics_of_each
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.frozen import wrong
from gradleak.models.base import Classifier
from gradleak.models.structure import parameters_in
from gradleak.objectives.base import OBJECTIVES
from gradleak.post_processing.base import Defense
from gradleak.post_processing.chain import biased, expectation
from gradleak.priors.base import PRIORS, WeightedPriors, prior_level
from gradleak.resume import StateFile

# Trials of several checkpoints run as one pass with weights of their own where an iteration is short of work: up to so
# many images per checkpoint, of a model with up to so many weights. Measured on CPUs (docs/measurements.md).
_JOINED_IMAGES = 4
_JOINED_WEIGHTS = 2_000_000


@dataclass(frozen=True)
class Found:
    """What a pass over T trials finds, on the CPU: images (T, N, 3, H, W) in [0, 1], objective and iterations (T,)."""

    images: Tensor
    objective: Tensor
    iterations: Tensor


class MatchingAttack(Attack):
    """Expands trials into restarts and attacks them in passes that fit into the device's memory.

    `objective` names Eq. 1's Dist, `priors` the weight of each prior (alpha R). `view` lists the blocks (`nin1`),
    modules or parameters of the model that are matched (Table 3); None is the whole update. With `adaptive` the
    adversary knows the client's post-processing and matches what a candidate's update is expected to look like after it
    (`post_processing.chain.expectation`); without, it takes what it received for a plain update. With `surrogate`
    candidates' gradients are taken at a model between the one sent and the one received, without at the one sent.
    With `whitening` the objective compares whitened gradients.
    """

    objective: str = "cosine"
    priors: Mapping[str, float] = {}
    # Left out of the content where there is none: ids of attacks on whole updates do not depend on it.
    view: tuple[str, ...] | None = Field(None, min_length=1, exclude_if=lambda value: value is None)
    adaptive: bool = Field(False, exclude_if=lambda value: not value)
    surrogate: Surrogate | None = Field(None, exclude_if=lambda value: value is None)
    whitening: Whitening | None = Field(None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _one_way_of_steps(self) -> Self:
        if self.surrogate is not None and self.knowledge == "wst":
            raise wrong("surrogate", "stands for the client's steps, and knowledge 'wst' simulates them; choose one")
        return self

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

    @property
    def level(self) -> int:
        """Level 0 for matching alone, 1 with p_TV, 3 if it uses what the client does, 4 with p_BN."""
        return max(prior_level(self.priors), 3 if self.knowledge == "wst" or self.adaptive else 0)

    @property
    def points(self) -> tuple[float, ...]:
        """See `Attack.points`."""
        return super().points if self.surrogate is None else self.surrogate.points

    @property
    def first_points(self) -> tuple[float, ...]:
        """The points from which starts begin: every restart at each."""
        return super().points if self.surrogate is None else self.surrogate.first

    @property
    def starts(self) -> int:
        """See `Attack.starts`."""
        return self.restarts * len(self.first_points)

    @abstractmethod
    def attack_pass(self, problem: "Problem[Self]") -> Found:
        """Attack all trials of a problem at once."""

    def variables(self, context: RunContext) -> int:
        """Count the numbers per trial that are optimised beside the images."""
        return 0

    def origins(self) -> list[str]:
        """Modules of the attack, the objective and the priors."""
        parts = [OBJECTIVES.origin(self.objective), *(PRIORS.origin(name) for name in self.priors)]
        return [*super().origins(), *parts]

    def matched(self) -> tuple[str, ...] | None:
        """See `Attack.matched`."""
        return self.view

    def joins(self, model: nn.Module, images: int, device: str) -> bool:
        """See `Attack.joins`; True only for the fast matcher on a CPU."""
        return (
            not device.startswith("cuda")
            and self.knowledge == "bst"
            and not self.adaptive
            and images <= _JOINED_IMAGES
            and sum(parameter.numel() for parameter in model.parameters()) <= _JOINED_WEIGHTS
            and activation.supports(model, None if self.view is None else parameters_in(model, self.view))
        )

    def _shares_passes(self, model: nn.Module, images: int, device: str) -> bool:
        """Whether trials with models of their own, `images` each, are faster in one pass than one after another."""
        return device.startswith("cuda") or self.joins(model, images, device)

    @property
    def descends(self) -> bool:
        """Whether the attack needs the objective's derivative with respect to the images."""
        return True

    def obstacle(self, trial: Trial[Self], context: RunContext) -> str | None:
        """See `Attack.obstacle`. Of the update, what is matched counts. An objective without derivative is one, too."""
        model = _classifier(trial).to(context.device)
        fault = _seen(trial, model).fault
        if fault is None and self.descends and _is_flat(Problem([trial], model, context, "")):
            return "the objective has no derivative in the images"
        return fault

    def run(self, trials: Sequence[Trial[Self]], context: RunContext) -> Reconstruction:
        """See `Attack.run`."""
        expanded = [start for trial in trials for start in _starts(trial)]
        first = trials[0].update
        for trial in trials:
            trial.update.model.to(context.device)
        model = _classifier(trials[0])

        meter = Meter(self.total_iterations, context.progress)

        def attack(size: int) -> list[tuple[Found, list[float]]]:
            passes = [expanded[start : start + size] for start in range(0, len(expanded), size)]
            found = []
            for i, part in enumerate(passes):
                counted = replace(context, progress=meter.of(i, len(passes)))
                problem = Problem(part, _classifier(part[0]), counted, f"{i}-{size}")
                found.append((self.attack_pass(problem), problem.points))
            return found

        training = simulated_training(trials[0])
        steps = training.steps(first.samples) if training else 1
        batch_size = training.batch_size if training else first.samples
        extra = self.variables(context)
        fitting = trials_that_fit(model, first.image_shape, first.samples, steps, extra, batch_size)
        if any(start.point for start in expanded) and not self._shares_passes(model, first.samples, context.device):
            fitting = 1
        if context.device.startswith("cuda"):
            fitting = trials_by_memory(lambda count: _evaluated(expanded[:count], context), fitting, len(expanded))
        parts = halve_on_oom(attack, min(len(expanded), fitting))
        images = torch.cat([part.images for part, _ in parts])
        meter.end()
        shape = (len(trials), self.starts)
        return Reconstruction(
            images.view(*shape, *images.shape[1:]),
            torch.cat([part.objective for part, _ in parts]).view(shape),
            torch.cat([part.iterations for part, _ in parts]).view(shape),
            torch.tensor([point for _, points in parts for point in points], dtype=torch.float64).view(shape),
        )


MatchingT = TypeVar("MatchingT", bound=MatchingAttack, covariant=True)


class Problem(Generic[MatchingT]):
    """The gradient-matching problem of T trials that share one global model, or its architecture.

    `model` is that of the first trial. `labels` are int64 (T, N), known or inferred. `Descent` minimises `evaluate` and
    `priors`.
    """

    def __init__(self, trials: Sequence[Trial[MatchingT]], model: Classifier, context: RunContext, label: str) -> None:
        self.trials, self.model, self.context = trials, model, context
        self._label = label
        seen = [_seen(trial, model) for trial in trials]
        self.targets = Targets.stack(seen, _labels(trials), context.device, trials[0].attack.whitening)
        self.labels = self.targets.labels
        updates = [_on_device(trial.update, context.device) for trial in trials]
        self.priors: Priors = WeightedPriors([trial.attack.priors for trial in trials], updates)
        if any(trial.point for trial in trials):
            self.priors = _at_models_sent(self.priors, [trial.update.model for trial in trials])
        self._models = _distinct([trial.update.model for trial in trials])
        first = [trial.point for trial in trials]
        surrogate = trials[0].attack.surrogate
        learned = surrogate is not None and surrogate.alpha == "learned" and any(first)
        self.evaluate = LearnedPoint(self._matcher, first, context.device) if learned else self._matcher(first)
        self.image_shape = (trials[0].update.samples, *trials[0].update.image_shape)

    def _matcher(self, points: Sequence[float]) -> Matcher:
        """The matcher of the trials, each at its point."""
        placed = zip(self.trials, points, strict=True)
        models = [trial.update.model_at(point) for trial, point in placed]
        return matcher(models[0] if len(_distinct(models)) == 1 else models, self.targets, self.trials[0])

    @property
    def points(self) -> list[float]:
        """Where the trials match gradients, in the end if they move."""
        if isinstance(self.evaluate, LearnedPoint):
            return self.evaluate.state["point"].tolist()
        return [trial.point for trial in self.trials]

    def tensor(self, *values: Tensor) -> Tensor:
        """Stack one tensor per trial in the precision and on the device of the model."""
        return torch.stack(values).to(next(self.model.parameters()))

    def generators(self) -> list[torch.Generator]:
        """One CPU generator per trial, seeded by the trial."""
        return [torch.Generator().manual_seed(trial.seed % 2**63) for trial in self.trials]

    def descend(
        self, stage: str, start: Tensor, space: SearchSpace, configs: Sequence[DescentConfig], *parts: nn.Module
    ) -> Outcome:
        """Minimise over the variables of a search space; resumes where a killed run of this stage was.

        `parts` are models that the space uses: a state saved with other weights is ignored.
        """
        descent = Descent(start, space, self.evaluate, self.priors, configs)
        return descent.run(self.store(stage, *parts), self.context.progress)

    def store(self, stage: str, *parts: nn.Module) -> StateFile | None:
        """The file that a stage keeps its state in; None where nothing is kept."""
        folder = self.context.state
        if folder is None:
            return None
        identity = _identity(self.trials, [*self._models, *parts])
        return StateFile(
            folder / f"{self._label}-{stage}.safetensors", identity, self.context.save_every_s, self.context.stop
        )


def _evaluated(trials: Sequence[Trial[MatchingAttack]], context: RunContext) -> None:
    """Evaluate trials once, at grey images."""
    problem = Problem(trials, _classifier(trials[0]), context, "")
    grey = torch.full((len(trials), *problem.image_shape), 0.5)
    problem.evaluate(grey.to(next(problem.model.parameters())), problem.priors)


def _is_flat(problem: Problem) -> bool:
    """Whether the objective of one trial has no derivative anywhere: at noise nor at grey images with little of it."""
    noise = torch.rand(1, *problem.image_shape, generator=torch.Generator().manual_seed(0))
    for images in (noise, 0.4 + 0.2 * noise):

        def evaluate(_: int, images: Tensor = images) -> Tensor:
            return problem.evaluate(images.to(next(problem.model.parameters())), no_priors).gradient

        if bool(halve_on_oom(evaluate, 1).any()):
            return False
    return True


def _at_models_sent(priors: Priors, models: Sequence[nn.Module]) -> Priors:
    """Priors whose moments are those of the models that clients received, one per trial: so are uploaded statistics."""
    if len({id(model) for model in models}) == 1:
        return lambda images, _: priors(images, lambda: batch_statistics_of(models[0], images))
    return lambda images, _: priors(images, lambda: batch_statistics_of_each(models, images))


def matcher(model: nn.Module | Sequence[nn.Module], targets: Targets, trial: Trial[MatchingAttack]) -> Matcher:
    """Return the fast matcher where it can be used, else the general one. `model`: of all trials, or one of each."""
    objective = OBJECTIVES[trial.attack.objective]
    training, chain = simulated_training(trial), known_chain(trial)
    plain = training is None and not biased(chain)
    first = model if isinstance(model, nn.Module) else model[0]
    if plain and activation.supports(first, targets.update):
        return ActivationMatcher(model, targets, objective)
    general = OneByOneMatcher if isinstance(first, Classifier) and first.way == "alone" else FunctionalMatcher
    return general(model, targets, objective, training, expectation(chain))


def simulated_training(trial: Trial[MatchingAttack]) -> LocalTraining | None:
    """The local training that case `wst` simulates; None in case `bst`, which takes the update for one gradient."""
    if trial.attack.knowledge == "bst":
        return None
    if trial.update.training is None:
        name = trial.attack.name
        raise UserError(f"attack '{name}' with knowledge 'wst' needs the training details (knowledge level 3)")
    return trial.update.training


def known_chain(trial: Trial[MatchingAttack]) -> tuple[Defense, ...]:
    """The post-processing that an adaptive adversary allows for; the empty chain for any other."""
    if not trial.attack.adaptive:
        return ()
    if trial.update.post_processing is None:
        raise UserError(f"attack '{trial.attack.name}' with adaptive needs the post-processing (knowledge level 3)")
    return trial.update.post_processing


def _classifier(trial: Trial) -> Classifier:
    assert isinstance(trial.update.model, Classifier)
    return trial.update.model


def _starts(trial: Trial[MatchingT]) -> list[Trial[MatchingT]]:
    """The starts that an update is attacked from, every restart at every point: at 0 where one gradient is shared."""
    restarts, points = range(trial.attack.restarts), trial.attack.first_points
    if trial.update.difference is None:
        points = (0.0,) * len(points)
    return [replace(trial, seed=trial.seed + restart, point=point) for restart in restarts for point in points]


def _distinct(models: Sequence[nn.Module]) -> list[nn.Module]:
    """The models of the trials, each once; one where all weights are equal."""
    models = list({id(model): model for model in models}.values())
    first = models[0].state_dict()
    other = [model.state_dict() for model in models[1:]]
    if all(torch.equal(value, first[name]) for state in other for name, value in state.items()):
        return models[:1]
    return models


def _seen(trial: Trial[MatchingAttack], model: Classifier) -> SharedUpdate:
    """The update as far as the attack matches it."""
    view = trial.attack.view
    if view is None:
        return trial.update
    return replace(trial.update, update={name: trial.update.update[name] for name in parameters_in(model, view)})


def _labels(trials: Sequence[Trial[MatchingAttack]]) -> list[Tensor]:
    """The labels of every trial, those that are not known inferred once for each update."""
    inferred: dict[int, Tensor] = {}
    labels = []
    for trial in trials:
        update = trial.update
        if trial.attack.labels == "known" and update.labels is not None:
            labels.append(update.labels)
            continue
        if id(update) not in inferred:
            inferred[id(update)] = infer_labels(update)
        training = simulated_training(trial)
        found = inferred[id(update)]
        labels.append(found if training is None else spread_over_batches(found, training.batch_size))
    return labels


def _on_device(update: SharedUpdate, device: str) -> SharedUpdate:
    if update.batch_statistics is None:
        return update
    statistics = [(mean.to(device), variance.to(device)) for mean, variance in update.batch_statistics]
    return replace(update, batch_statistics=statistics)


def _identity(trials: Sequence[Trial], modules: Sequence[nn.Module]) -> str:
    """Hash of all that decides a pass: a saved state belongs to it or is ignored."""
    digest = hashlib.sha256(precision().encode())
    for module in modules:
        for value in module.state_dict().values():
            digest.update(value.cpu().contiguous().numpy().tobytes())
    for trial in trials:
        update = trial.update
        known = f"{update.training} {update.post_processing}"
        digest.update(f"{trial.attack.model_dump_json()} {trial.seed} {trial.point} {known}".encode())
        statistics = [value for pair in update.batch_statistics or [] for value in pair]
        labels = [] if update.labels is None else [update.labels]
        way = update.difference.values() if update.difference is not None and trial.point else ()
        for value in [*update.update.values(), *way, *labels, *statistics]:
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
