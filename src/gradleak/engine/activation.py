"""The fast matcher for one-step gradients: per-trial gradients are paired with targets from layer activations.

All T * N candidate images go through the shared model as one batch; since the loss of a trial depends on its own
images only, each image's backward signal is its own trial's. See `layers` for what happens per layer. Trials may also
have a model each, of one architecture.
"""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradleak.engine.base import Evaluation, Priors, Targets, slopes
from gradleak.engine.glue import CheapGlue
from gradleak.engine.layers import Tapped, TappedBatchNorm, TappedConv, TappedLinear, Whitened
from gradleak.engine.layout import laid_out
from gradleak.engine.vectors import Vectors
from gradleak.errors import UserError
from gradleak.models.base import Classifier
from gradleak.objectives.base import Objective


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
        if targets.whitener is not None:
            self._layers = [(path, Whitened.around(layer, path, targets.whitener)) for path, layer in self._layers]
        self._normalisations = [layer for _, layer in tapped if isinstance(layer, TappedBatchNorm)]
        self._vectors = Vectors(self._layers, targets)
        for path, layer in self._layers:
            if layer.matrix is not None:
                layer.aim(targets.update[f"{path}{layer.matrix}"])
        matrices = [f"{path}{layer.matrix}" for path, layer in self._layers if layer.matrix is not None]
        computed = [*matrices, *self._vectors.names]
        order = [computed.index(name) for name in targets.update]
        # From the order in which numbers are computed to that of the update, and back.
        device = targets.norm2.device
        self._order = torch.tensor(order, device=device)
        self._back = torch.tensor([order.index(i) for i in range(len(order))], device=device)
        self._labels = targets.labels.flatten()
        self._norm2 = targets.norm2
        whitener = targets.whitener  # of vectors the numbers are whitened, of matrices what they are computed from
        self._factors = None if whitener is None else whitener.factors(targets.update, targets.norm2).square()
        self._objective = objective
        self._trials = trials

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        """See `Matcher`."""
        samples = images.shape[1]
        leaf = images.detach().requires_grad_()
        batch = laid_out(leaf.flatten(0, 1))
        with CheapGlue():
            logits = self._model(batch)
        loss = F.cross_entropy(logits, self._labels, reduction="sum") / samples
        layers = [layer for _, layer in self._layers]
        signals = torch.autograd.grad(loss, [layer.y for layer in layers], create_graph=True)

        with torch.no_grad():
            laid = [laid_out(d) if d.dim() == 4 else d for d in signals]
            found = [layer.pair(d) for layer, d in zip(layers, laid, strict=True) if layer.matrix is not None]
            gradients = [layer.gradients(d) for layer, d in zip(layers, laid, strict=True)]
            inner, norm2 = self._numbers(found, self._vectors.pair(gradients))
        objective, by_inner, by_norm2 = self._slopes(inner, norm2)
        with torch.no_grad():
            a, b2 = (slope.to(images.dtype)[:, self._back] for slope in (by_inner, 2 * by_norm2))
            by_matrix = iter(list(zip(*(slope.mT[:, :, None].unbind() for slope in (a, b2)), strict=True)))
            by_vector = self._vectors.cotangents(a[:, len(found) :], b2[:, len(found) :])
            outputs: list[Tensor] = []
            cotangents: list[Tensor] = []
            for layer, signal, d, vectors in zip(layers, signals, laid, by_vector, strict=True):
                pulled = layer.pull(d, None if layer.matrix is None else next(by_matrix), vectors)
                outputs += [signal, layer.x]
                cotangents += pulled

        prior = priors(leaf, self._moments)
        if prior.requires_grad:
            outputs.append(prior)
            cotangents.append(torch.ones_like(prior))
        # The first layer's d may not depend on the images (one linear layer), nor a frozen input on anything.
        pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
        (gradient,) = torch.autograd.grad([o for o, _ in pairs], leaf, [c for _, c in pairs])
        return Evaluation(objective, prior.detach(), gradient)

    def _slopes(self, inner: Tensor, norm2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objective and its derivatives, for numbers whose vectors are not whitened yet."""
        if self._factors is None:
            return slopes(self._objective, inner, norm2, self._norm2)
        objective, *by = slopes(self._objective, inner * self._factors, norm2 * self._factors, self._norm2)
        return objective, by[0] * self._factors, by[1] * self._factors

    def _numbers(self, matrices: list[tuple[Tensor, Tensor]], vectors: tuple[Tensor, Tensor]) -> list[Tensor]:
        """<g, g*> and <g, g>, each float64 (T, L) in the order of the update."""
        both = [[pair[i] for pair in matrices] for i in (0, 1)]
        columns = [torch.stack(part, dim=1) for part in both] if matrices else [vectors[0][:, :0]] * 2
        parts = zip(columns, vectors, strict=True)
        return [torch.cat([column.double(), vector], dim=1)[:, self._order] for column, vector in parts]

    def _moments(self) -> list[tuple[Tensor, Tensor]]:
        found = []
        for layer in self._normalisations:
            grouped = layer.x.unflatten(0, (self._trials, -1))
            variance, mean = torch.var_mean(grouped, dim=(1, 3, 4), correction=0)
            found.append((mean, variance))
        return found


def _tap(models: Sequence[nn.Module], trials: int) -> tuple[nn.Module, list[tuple[str, Tapped]]]:
    """A copy of the model whose layers are tapped, and of each layer the prefix of its parameters' names."""
    tapped = copy.deepcopy(models[0])
    found: list[tuple[str, Tapped]] = []
    for path, module in list(tapped.named_modules()):
        if not list(module.parameters(recurse=False)):
            continue
        replacement = _tapped([model.get_submodule(path) for model in models], trials)
        parent, _, leaf = path.rpartition(".")
        setattr(tapped.get_submodule(parent), leaf, replacement)
        found.append((f"{path}.", replacement))
    return tapped, found


def _tapped(layers: Sequence[Any], trials: int) -> Any:
    """What taps a layer that all trials share, or one of each trial."""
    if isinstance(layers[0], nn.Conv2d):
        return TappedConv(layers, trials)
    if isinstance(layers[0], nn.Linear):
        return TappedLinear(layers, trials)
    assert isinstance(layers[0], nn.BatchNorm2d)
    return TappedBatchNorm(layers, trials)


def _in_view(layers: Sequence[tuple[str, Tapped]], view: set[str]) -> list[tuple[str, Tapped]]:
    """The layers whose parameters are in a gradient view. Raises UserError for a layer that is in it in part."""
    found = []
    for path, layer in layers:
        names = [f"{path}{name}" for name in (layer.matrix, *layer.vectors) if name is not None]
        if view.issuperset(names):
            found.append((path, layer))
        elif view.intersection(names):
            raise UserError(f"a gradient view takes whole layers; of {', '.join(names)} it has some")
    return found
