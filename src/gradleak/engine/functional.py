"""The general matcher: any model, any number of local steps, batched over trials by `torch.func.vmap`.

The candidate's update is computed once with its vector-Jacobian product. The objective's derivative with respect to
the update has a closed form (see `objectives.base`), so autograd never sees the objective.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from gradleak.engine.base import Evaluation, Expectation, Priors, Targets, unprocessed
from gradleak.federated.client import batch_statistics_of, parameters_of, summed_gradients
from gradleak.federated.shared_update import LocalTraining
from gradleak.objectives.base import Objective


class FunctionalMatcher:
    """Matches updates of U local steps (`wst`), post-processed ones, or gradients of models without a fast path."""

    def __init__(
        self,
        model: nn.Module,
        targets: Targets,
        objective: Objective,
        training: LocalTraining | None = None,
        expectation: Expectation = unprocessed,
    ) -> None:
        self._model = model
        self._parameters = parameters_of(model)
        self._targets = targets
        self._objective = objective
        self._training = training
        self._expectation = expectation

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        """See `Matcher`."""
        if len(images) == 1:  # vmap over one trial costs time and buys nothing
            target = {name: value[0] for name, value in self._targets.update.items()}
            value, gradient = self._one_trial(images[0], self._targets.labels[0], target, self._targets.norm2[0])
            objective, gradients = value[None], gradient[None]
        else:
            mapped: Callable[..., tuple[Tensor, Tensor]] = vmap(self._one_trial)
            objective, gradients = mapped(images, self._targets.labels, self._targets.update, self._targets.norm2)
        leaf = images.detach().requires_grad_()
        prior = priors(leaf, lambda: batch_statistics_of(self._model, leaf))
        if prior.requires_grad:
            gradients = gradients + torch.autograd.grad(prior.sum(), leaf)[0]
        return Evaluation(objective.detach(), prior.detach(), gradients.detach())

    def _one_trial(
        self, images: Tensor, labels: Tensor, target: dict[str, Tensor], norm2: Tensor
    ) -> tuple[Tensor, Tensor]:
        training = self._training or LocalTraining(batch_size=len(images), epochs=1, lr=1.0)

        def update_of(x: Tensor) -> dict[str, Tensor]:
            update = summed_gradients(
                self._model, self._parameters, x, labels, training.batch_size, training.epochs, training.lr
            )
            return self._expectation({name: update[name] for name in target}, target)

        update, pull_back, *_ = vjp(update_of, images)
        inner = torch.stack([(update[k] * target[k]).sum(dtype=torch.float64) for k in target]).sum()
        own = torch.stack([update[k].square().sum(dtype=torch.float64) for k in target]).sum()
        value, by_inner, by_norm2 = _slopes_of_one(self._objective, inner, own, norm2)
        cotangent = {
            name: by_inner.to(update[name].dtype) * target[name] + (2 * by_norm2).to(update[name].dtype) * update[name]
            for name in target
        }
        return value, pull_back(cotangent)[0]


def _slopes_of_one(objective: Objective, inner: Tensor, norm2: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    # `slopes` for one trial inside vmap, where only torch.func's transforms may be used.
    value, pull_back, *_ = vjp(lambda a, n: objective(a[None], n[None], target[None])[0], inner, norm2)
    by_inner, by_norm2 = pull_back(torch.ones_like(value))
    return value, by_inner, by_norm2
