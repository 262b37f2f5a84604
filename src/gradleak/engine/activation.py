"""The fast matcher for one-step gradients: per-trial gradients are paired with targets from layer activations.

All T * N candidate images go through the shared model as one batch; since the loss of a trial depends on its own
images only, each image's backward signal is its own trial's. See `layers` for what happens per layer, and `own_layers`
for trials whose models share the architecture only.
"""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradleak.engine.base import Evaluation, Priors, Targets, slopes
from gradleak.engine.layers import TappedBatchNorm, TappedConv, TappedLinear
from gradleak.engine.own_layers import OwnBatchNorm, OwnConv, OwnLinear
from gradleak.errors import UserError
from gradleak.models.base import Classifier
from gradleak.objectives.base import Objective

Tapped = TappedConv | TappedLinear | TappedBatchNorm


def supports(model: nn.Module, view: Collection[str] | None = None) -> bool:
    """Whether every parameter belongs to one layer that can be tapped, and a view (None: all) has each whole or not."""
    if isinstance(model, Classifier) and model.way != "tapped":
        return False
    if len(list(model.named_parameters(remove_duplicate=False))) > len(list(model.parameters())):
        return False  # layers share a parameter, or a layer has two names
    for path, module in model.named_modules():
        names = {f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)}
        if names and not _tappable(module):
            return False
        if view is not None and 0 < len(names.intersection(view)) < len(names):
            return False
    return True


def _tappable(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return not isinstance(module.padding, str) and module.padding_mode == "zeros"
    if isinstance(module, nn.BatchNorm2d):
        return module.running_mean is not None
    return isinstance(module, nn.Linear)


class ActivationMatcher:
    """Matches one-step gradients of T trials that share a model for which `supports` holds.

    `model` may also be a sequence of T such models, one per trial, of one architecture.
    """

    def __init__(self, model: nn.Module | Sequence[nn.Module], targets: Targets, objective: Objective) -> None:
        trials = len(targets.labels)
        models = [model] if isinstance(model, nn.Module) else list(model)
        assert len(models) in (1, trials)
        self._model, tapped = _tap(models, trials)
        self._layers = _in_view(tapped, set(targets.update))
        self._normalisations = [layer for _, layer in tapped if isinstance(layer, TappedBatchNorm)]
        self._targets = [[targets.update[name] for name in names] for names, _ in self._layers]
        self._labels = targets.labels.T.flatten()
        self._norm2 = targets.norm2
        self._objective = objective
        self._trials = trials

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        """See `Matcher`."""
        samples, trials = images.shape[1], self._trials
        leaf = images.detach().requires_grad_()
        logits = self._model(leaf.transpose(0, 1).flatten(0, 1))
        loss = F.cross_entropy(logits, self._labels, reduction="sum") / samples
        layers = [layer for _, layer in self._layers]
        signals = torch.autograd.grad(loss, [layer.y for layer in layers], create_graph=True)

        inner, norm2 = torch.zeros_like(self._norm2), torch.zeros_like(self._norm2)
        cotangents: list[Tensor] = []
        with torch.no_grad():
            for layer, d, target in zip(layers, signals, self._targets, strict=True):
                part_inner, part_norm2 = layer.first(d, target)
                inner, norm2 = inner + part_inner, norm2 + part_norm2
        objective, by_inner, by_norm2 = slopes(self._objective, inner, norm2, self._norm2)
        with torch.no_grad():
            for layer, d, target in zip(layers, signals, self._targets, strict=True):
                cotangents += layer.second(d, target, by_inner, by_norm2)

        prior = priors(leaf, lambda: self._moments(trials))
        outputs = [tensor for layer, d in zip(layers, signals, strict=True) for tensor in (d, layer.x)]
        if prior.requires_grad:
            outputs.append(prior)
            cotangents.append(torch.ones_like(prior))
        # The first layer's d may not depend on the images (one linear layer), nor a frozen input on anything.
        pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
        (gradient,) = torch.autograd.grad([o for o, _ in pairs], leaf, [c for _, c in pairs])
        return Evaluation(objective, prior.detach(), gradient)

    def _moments(self, trials: int) -> list[tuple[Tensor, Tensor]]:
        found = []
        for layer in self._normalisations:
            grouped = layer.x.view(-1, trials, *layer.x.shape[1:])
            variance, mean = torch.var_mean(grouped, dim=(0, 3, 4), correction=0)
            found.append((mean, variance))
        return found


def _tap(models: Sequence[nn.Module], trials: int) -> tuple[nn.Module, list[tuple[list[str], Tapped]]]:
    """A copy of the model whose layers are tapped, with the parameter names that each layer answers for."""
    tapped = copy.deepcopy(models[0])
    found: list[tuple[list[str], Tapped]] = []
    for path, module in list(tapped.named_modules()):
        if not list(module.parameters(recurse=False)):
            continue
        replacement = _tapped([model.get_submodule(path) for model in models], trials)
        parent, _, leaf = path.rpartition(".")
        setattr(tapped.get_submodule(parent), leaf, replacement)
        found.append(([f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)], replacement))
    return tapped, found


def _tapped(layers: Sequence[Any], trials: int) -> Tapped:
    """What taps a layer that all trials share, or one of each trial."""
    first, shared = layers[0], len(layers) == 1
    if isinstance(first, nn.Conv2d):
        return TappedConv(first, trials) if shared else OwnConv(layers)
    if isinstance(first, nn.Linear):
        return TappedLinear(first, trials) if shared else OwnLinear(layers)
    assert isinstance(first, nn.BatchNorm2d)
    return TappedBatchNorm(first, trials) if shared else OwnBatchNorm(layers)


def _in_view(layers: Sequence[tuple[list[str], Tapped]], view: set[str]) -> list[tuple[list[str], Tapped]]:
    """The layers whose parameters are in a gradient view. Raises UserError for a layer that is in it in part."""
    found = []
    for names, layer in layers:
        if view.issuperset(names):
            found.append((names, layer))
        elif view.intersection(names):
            raise UserError(f"a gradient view takes whole layers; of {', '.join(names)} it has some")
    return found
