"""The general matchers: any number of local steps, of any model.

Trials are batched by `torch.func.vmap` or, where a model does not allow that, attacked one by one with plain autograd.

The candidate's update is computed once with its vector-Jacobian product. The objective's derivative with respect to
the update has a closed form (see `objectives.base`), so autograd never sees the objective.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from gradleak.engine.base import Evaluation, Expectation, Priors, Targets, slopes, unprocessed
from gradleak.engine.whitening import whitened
from gradleak.federated.client import Parameters, batch_statistics_of, parameters_of, summed_steps
from gradleak.federated.shared_update import LocalTraining
from gradleak.objectives.base import Objective


class _Target(NamedTuple):
    """What one trial's candidates are matched with, or that of all trials stacked: labels (N,), the shared update as
    it is and as it is compared (`goal`) with the squared norms of that, what whitens it, and the model's parameters.
    """

    labels: Any
    shared: Any
    goal: Any
    norm2: Any
    whitening: Any
    parameters: Any


class FunctionalMatcher:
    """Matches updates of U local steps (`wst`), post-processed ones, or gradients of models without a fast path.

    `model` may also be a sequence, one model per trial, which differ in their parameters only.

    A simulation that overflows, as of a client whose rate is too high, tells nothing: it counts as an update of zero,
    with no gradient, so that a descent keeps the best that it had before.
    """

    def __init__(
        self,
        model: nn.Module | Sequence[nn.Module],
        targets: Targets,
        objective: Objective,
        training: LocalTraining | None = None,
        expectation: Expectation = unprocessed,
    ) -> None:
        models = [model] if isinstance(model, nn.Module) else list(model)
        self._model = models[0]
        self._parameters = [parameters_of(own) for own in models]
        self._stacked = _stacked(self._parameters) if len(models) > 1 else {}
        self._targets = targets
        self._whitening = {} if targets.whitener is None else targets.whitener.matrices
        self._goal = targets.update if targets.whitener is None else targets.whitener(targets.update)
        self._objective = objective
        self._training = training
        self._expectation = expectation

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        """See `Matcher`."""
        objective, gradients = self._matched(images)
        if self._training is not None:
            objective, gradients = self._told(objective, gradients)
        leaf = images.detach().requires_grad_()
        prior = priors(leaf, lambda: batch_statistics_of(self._model, leaf))
        if prior.requires_grad:
            gradients = gradients + torch.autograd.grad(prior.sum(), leaf)[0]
        return Evaluation(objective.detach(), prior.detach(), gradients.detach())

    def _told(self, objective: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """The same for trials whose simulation is finite, and what an update of zero has for others."""
        zero = torch.zeros_like(self._targets.norm2)
        objective = torch.where(objective.isfinite(), objective, self._objective(zero, zero, self._targets.norm2))
        finite = gradients.flatten(1).isfinite().all(dim=1)
        return objective, torch.where(finite.view(-1, *(1,) * (gradients.dim() - 1)), gradients, 0)

    def _matched(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The objective of every trial (T,) and its gradient (T, N, 3, H, W), without priors."""
        if len(images) == 1:  # vmap over one trial costs time and buys nothing
            value, gradient = self._one_trial(images[0], self._target(0))
            return value[None], gradient[None]
        own = len(self._parameters) > 1
        parameters = self._stacked if own else self._parameters[0]
        targets = self._targets
        every = _Target(targets.labels, targets.update, self._goal, targets.norm2, self._whitening, parameters)
        dims = _Target(0, 0, 0, 0, 0, 0 if own else None)
        mapped: Callable[..., tuple[Tensor, Tensor]] = vmap(self._one_trial, in_dims=(0, dims))
        return mapped(images, every)

    def _target(self, trial: int) -> "_Target":
        targets = self._targets
        shared, goal = ({name: value[trial] for name, value in own.items()} for own in (targets.update, self._goal))
        whitening = {} if targets.whitener is None else targets.whitener.of_trial(trial)
        parameters = self._parameters[trial if len(self._parameters) > 1 else 0]
        return _Target(targets.labels[trial], shared, goal, targets.norm2[trial], whitening, parameters)

    def _update_of(self, images: Tensor, target: "_Target") -> dict[str, Tensor]:
        """What the candidates (N, 3, H, W) of one trial are expected to have shared, as it is compared."""
        training = self._training or LocalTraining(batch_size=len(images), epochs=1, lr=1.0)
        update = summed_steps(self._model, target.parameters, images, target.labels, training)
        expected = self._expectation({name: update[name] for name in target.shared}, target.shared)
        return whitened(expected, target.whitening)

    def _one_trial(self, images: Tensor, target: "_Target") -> tuple[Tensor, Tensor]:
        update, pull_back, *_ = vjp(lambda x: self._update_of(x, target), images)
        inner, own = _paired(update, target.goal)
        value, by_inner, by_norm2 = _slopes_of_one(self._objective, inner, own, target.norm2)
        return value, pull_back(_cotangent(update, target.goal, by_inner, by_norm2))[0]


class OneByOneMatcher(FunctionalMatcher):
    """The same by plain autograd, one trial after another: for models that `torch.func` cannot transform."""

    def _matched(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows = [self._one_trial(own, self._target(trial)) for trial, own in enumerate(images)]
        return torch.stack([value for value, _ in rows]), torch.stack([gradient for _, gradient in rows])

    def _one_trial(self, images: Tensor, target: "_Target") -> tuple[Tensor, Tensor]:
        leaf = images.detach().requires_grad_()
        with torch.enable_grad():
            update = self._update_of(leaf, target)
        goal = target.goal
        inner, own = _paired(update, goal)
        value, by_inner, by_norm2 = slopes(self._objective, inner[None], own[None], target.norm2[None])
        detached = {name: each.detach() for name, each in update.items()}
        cotangent = _cotangent(detached, goal, by_inner[0], by_norm2[0])
        used = [name for name in goal if update[name].requires_grad]
        outputs, cotangents = [update[name] for name in used], [cotangent[name] for name in used]
        gradient = torch.autograd.grad(outputs, leaf, cotangents, materialize_grads=True)[0] if used else leaf * 0
        return value[0], gradient.detach()


def _stacked(parameters: Sequence[Parameters]) -> Parameters:
    return {name: torch.stack([own[name] for own in parameters]) for name in parameters[0]}


def _paired(update: dict[str, Tensor], target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """<g, g*> and <g, g> of one trial by parameter, each float64 (L,)."""
    inner = torch.stack([(update[k] * target[k]).sum(dtype=torch.float64) for k in target])
    return inner, torch.stack([update[k].square().sum(dtype=torch.float64) for k in target])


def _cotangent(
    update: dict[str, Tensor], target: dict[str, Tensor], by_inner: Tensor, by_norm2: Tensor
) -> dict[str, Tensor]:
    """The objective's derivative a g* + 2 b g with respect to the update g, for slopes (L,) by parameter."""
    found = {}
    for name, a, b2 in zip(target, by_inner.unbind(), (2 * by_norm2).unbind(), strict=True):
        found[name] = a.to(update[name].dtype) * target[name] + b2.to(update[name].dtype) * update[name]
    return found


def _slopes_of_one(objective: Objective, inner: Tensor, norm2: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    # `slopes` for one trial inside vmap, where only torch.func's transforms may be used.
    value, pull_back, *_ = vjp(lambda a, n: objective(a[None], n[None], target[None])[0], inner, norm2)
    by_inner, by_norm2 = pull_back(torch.ones_like(value))
    return value, by_inner, by_norm2
