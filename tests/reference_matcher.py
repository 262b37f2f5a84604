"""The obviously correct, slow matcher, which the fast ones have to agree with: trial by trial, by autograd."""

import torch
from torch import Tensor, nn

from gradleak.engine.base import Evaluation, Expectation, Priors, Targets, unprocessed
from gradleak.federated.client import batch_statistics_of, parameters_of, summed_steps
from gradleak.federated.shared_update import LocalTraining
from gradleak.objectives.base import Objective


class ReferenceMatcher:
    """Loops over trials; the objective is differentiated through the gradient (or through the local steps)."""

    def __init__(
        self,
        model: nn.Module,
        targets: Targets,
        objective: Objective,
        training: LocalTraining | None = None,
        expectation: Expectation = unprocessed,
    ) -> None:
        self._model = model
        self._targets = targets
        self._objective = objective
        self._training = training
        self._expectation = expectation

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        """See `Matcher`."""
        objective, gradients = [], []
        leaf = images.detach().requires_grad_()
        for trial in range(len(images)):
            value = self._distance(leaf[trial], trial)
            objective.append(value.detach())
            gradients.append(torch.autograd.grad(value, leaf)[0])
        prior = priors(leaf, lambda: batch_statistics_of(self._model, leaf))
        total = torch.stack(gradients).sum(dim=0)
        if prior.requires_grad:
            total = total + torch.autograd.grad(prior.sum(), leaf)[0]
        return Evaluation(torch.stack(objective), prior.detach(), total)

    def _distance(self, images: Tensor, trial: int) -> Tensor:
        training = self._training or LocalTraining(batch_size=len(images), epochs=1, lr=1.0)
        parameters = {name: value.requires_grad_() for name, value in parameters_of(self._model).items()}
        update = summed_steps(self._model, parameters, images, self._targets.labels[trial], training)
        shared = {name: value[trial] for name, value in self._targets.update.items()}
        update = self._expectation({name: update[name] for name in shared}, shared)
        pairs = [(update[name].flatten().double(), value.flatten().double()) for name, value in shared.items()]
        inner = torch.stack([g @ target for g, target in pairs])
        norm2 = torch.stack([g @ g for g, _ in pairs])
        target_norm2 = torch.stack([target @ target for _, target in pairs])
        return self._objective(inner[None], norm2[None], target_norm2[None])[0]
