"""The client: local SGD on private data and the update that it shares (Sec. 2.1)."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad

from gradleak.federated.shared_update import BatchStatistics
from gradleak.models.base import Classifier, batch_norm_layers
from gradleak.specs import ClientSpec

Parameters = dict[str, Tensor]


def parameters_of(model: nn.Module) -> Parameters:
    """The model's trainable parameters by name, detached. A client keeps frozen ones to itself.

    A parameter that several layers share is there once, under its first name.
    """
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def mean_loss(model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of images (n, 3, H, W) in [0, 1] with labels (n,) under the given parameters: a scalar."""
    # Not with `tie_weights`, which leaves a module that has two names with the given parameters.
    own = {place: parameters[name] for place, name in _places(model).items() if name in parameters}
    return F.cross_entropy(functional_call(model, own, (images,), tie_weights=False), labels)


def _places(model: nn.Module) -> dict[str, str]:
    """Where every layer, each taken once, has a parameter: to that parameter's name among `named_parameters`."""
    names: dict[int, str] = {}
    places = {}
    for path, module in model.named_modules():
        for leaf, parameter in module.named_parameters(path, recurse=False, remove_duplicate=False):
            places[leaf] = names.setdefault(id(parameter), leaf)
    return places


def gradient_of(model: nn.Module) -> Callable[[nn.Module, Parameters, Tensor, Tensor], Parameters]:
    """`mean_loss`, differentiated with respect to the parameters in the way that is right for a model."""
    if isinstance(model, Classifier) and model.way == "alone":
        return _by_autograd
    return grad(mean_loss, argnums=1)


def _by_autograd(model: nn.Module, parameters: Parameters, images: Tensor, labels: Tensor) -> Parameters:
    """As `torch.func.grad`, for models that it cannot transform. Differentiable where the images require it."""
    with torch.enable_grad():
        own = {
            name: value if value.requires_grad else value.detach().requires_grad_()
            for name, value in parameters.items()
        }
        loss = mean_loss(model, own, images, labels)
        found = torch.autograd.grad(loss, list(own.values()), create_graph=images.requires_grad, materialize_grads=True)
    return dict(zip(own, found, strict=True))


def summed_gradients(
    model: nn.Module,
    parameters: Parameters,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    epochs: int,
    lr: float,
) -> Parameters:
    """Run E epochs of mini-batch SGD over images (N, 3, H, W) and return the sum of the U local gradients.

    Mini-batches are taken in the given order, the last one may be smaller. The result is (W_0 - W_U) / lr, and it is
    differentiable with respect to the images: the adversary of case `wst` simulates the client with it.
    """
    gradient = gradient_of(model)
    total: Parameters | None = None
    current = dict(parameters)
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True)) * epochs
    for index, (x, y) in enumerate(batches):
        step = gradient(model, current, x, y)
        total = step if total is None else {name: total[name] + step[name] for name in step}
        if index + 1 < len(batches):
            current = {name: current[name] - lr * step[name] for name in current}
    assert total is not None
    return total


def local_update(model: nn.Module, images: Tensor, labels: Tensor, spec: ClientSpec) -> Parameters:
    """The update that a client with N images (N, 3, H, W) in [0, 1] and labels (N,) shares.

    One local step shares the gradient itself (FedSGD). More steps share the trained model, of which the server takes
    the difference (FedAvg): (W_0 - W_U) / eta, with the rounding that storing W_U brings. See `shared_update` for
    sign and scale.
    """
    start = parameters_of(model)
    total = summed_gradients(model, start, images, labels, spec.minibatch, spec.epochs, spec.lr)
    if spec.updates == 1:
        return total
    end = {name: start[name] - spec.lr * total[name] for name in start}
    return {name: (start[name] - end[name]) / spec.lr for name in start}


def batch_statistics_of(model: nn.Module, images: Tensor) -> BatchStatistics:
    """Mean and biased variance, each (T, C), of every batch-normalisation layer's input, for T batches (T, N, 3, H, W).

    Differentiable. The list is empty where the model has no such layer.
    """
    trials, samples = images.shape[:2]
    layers = batch_norm_layers(model).values()
    alone = isinstance(model, Classifier) and model.way == "alone"
    if trials > 1 and (alone or any(layer.running_mean is None for layer in layers)):
        # With statistics of the mini-batch, trials in one batch would see each other.
        single = [batch_statistics_of(model, trial[None]) for trial in images]
        return [
            (torch.cat([mean for mean, _ in layer]), torch.cat([variance for _, variance in layer]))
            for layer in zip(*single, strict=True)
        ]
    moments: BatchStatistics = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        grouped = inputs[0].reshape(trials, -1, *inputs[0].shape[1:])
        over = [dim for dim in range(1, grouped.dim()) if dim != 2]  # all but trials and channels
        variance, mean = torch.var_mean(grouped, dim=over, correction=0)
        moments.append((mean, variance))

    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        model(images.reshape(trials * samples, *images.shape[2:]))
    finally:
        for hook in hooks:
            hook.remove()
    return moments


def batch_statistics(model: nn.Module, images: Tensor) -> BatchStatistics:
    """Statistics, each (C,), of one client's images (N, 3, H, W), as it may upload them (level 4, Sec. 2.2)."""
    with torch.no_grad():
        return [(mean[0], variance[0]) for mean, variance in batch_statistics_of(model, images[None])]
