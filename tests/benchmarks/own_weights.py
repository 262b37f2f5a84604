"""A matcher of T trials whose models share the architecture and not the weights, for `rounds.py` to compare with."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vjp, vmap

from gradleak.engine.base import Evaluation, Priors, Targets
from gradleak.engine.functional import _cotangent, _paired, _slopes_of_one
from gradleak.objectives.base import Objective


class VmapMatcher:
    """The functional matcher for one-step gradients, mapped over the stacked parameters and buffers too."""

    def __init__(self, models: Sequence[nn.Module], targets: Targets, objective: Objective) -> None:
        self._model, self._targets, self._objective = models[0], targets, objective
        self._parameters, self._buffers = stack_module_state(list(models))
        self._parameters = {name: value.detach() for name, value in self._parameters.items()}

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        targets = self._targets
        mapped: Callable[..., tuple[Tensor, Tensor]] = vmap(self._one_trial)
        objective, gradients = mapped(
            images, targets.labels, targets.update, targets.norm2, self._parameters, self._buffers
        )
        leaf = images.detach().requires_grad_()
        prior = priors(leaf, list)
        if prior.requires_grad:
            gradients = gradients + torch.autograd.grad(prior.sum(), leaf)[0]
        return Evaluation(objective.detach(), prior.detach(), gradients.detach())

    def _one_trial(
        self,
        images: Tensor,
        labels: Tensor,
        target: dict[str, Tensor],
        norm2: Tensor,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        def loss(given: dict[str, Tensor], x: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self._model, {**given, **buffers}, (x,)), labels)

        update, pull_back, *_ = vjp(lambda x: grad(loss)(parameters, x), images)
        value, by_inner, by_norm2 = _slopes_of_one(self._objective, *_paired(update, target), norm2)
        return value, pull_back(_cotangent(update, target, by_inner, by_norm2))[0]
