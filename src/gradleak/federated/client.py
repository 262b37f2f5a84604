"""The client: local training on private data and the update that it shares (Sec. 2.1)."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad

from gradleak.federated.optimizer import Memory, directions
from gradleak.federated.shared_update import BatchStatistics, LocalTraining
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


def summed_steps(
    model: nn.Module,
    parameters: Parameters,
    images: Tensor,
    labels: Tensor,
    training: LocalTraining,
    order: Tensor | None = None,
) -> Parameters:
    """Train on images (N, 3, H, W) with labels (N,) for U local steps and return (W_0 - W_U) / eta.

    It is the sum of the steps' directions (`optimizer.directions`), for plain SGD that of the U local gradients. One
    step is its gradient (FedSGD), whatever the optimizer. Mini-batches are taken in the given order, or in that of each
    epoch: `order`, int64 (E, N), places of images. The last one may be smaller. The result is differentiable with
    respect to the images: the adversary of case `wst` simulates the client with it, in the given order, as it does not
    know another.
    """
    gradient = gradient_of(model)
    epochs = [(images, labels)] * training.epochs
    if order is not None:
        epochs = [(images[places], labels[places]) for places in order.to(labels.device)]
    size = training.batch_size
    batches = [pair for x, y in epochs for pair in zip(x.split(size), y.split(size), strict=True)]
    if len(batches) == 1:
        return gradient(model, dict(parameters), *batches[0])
    total: Parameters | None = None
    current, memory = dict(parameters), dict[str, Memory]()
    for index, (x, y) in enumerate(batches):
        step, memory = directions(training, current, gradient(model, current, x, y), memory)
        total = step if total is None else {name: total[name] + step[name] for name in step}
        if index + 1 < len(batches):
            current = {name: current[name] - training.lr * step[name] for name in current}
    assert total is not None
    return total


def drawn_order(client: ClientSpec, random: torch.Generator) -> Tensor | None:
    """The order of a client's images in each epoch, int64 (E, N), drawn anew each by a generator of the CPU.

    None is the given order: of a client that does not shuffle, or that takes one step of all its images.
    """
    if not client.shuffle or client.updates == 1:
        return None
    return torch.stack([torch.randperm(client.samples, generator=random) for _ in range(client.epochs)])


def local_update(
    model: nn.Module, images: Tensor, labels: Tensor, spec: ClientSpec, order: Tensor | None = None
) -> Parameters:
    """The update that a client with N images (N, 3, H, W) in [0, 1] and labels (N,) shares.

    One local step shares the gradient itself (FedSGD). More steps share the trained model, of which the server takes
    the difference (FedAvg): (W_0 - W_U) / eta, with the rounding that storing W_U brings. See `shared_update` for
    sign and scale. `order` is that of `drawn_order`. Raises ValueError if a client that shuffles has none.
    """
    if spec.shuffle and spec.updates > 1 and order is None:
        raise ValueError("a client that shuffles needs an order")
    start = parameters_of(model)
    total = summed_steps(model, start, images, labels, LocalTraining.of(spec), order)
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
        return batch_statistics_of_each([model] * trials, images)
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


def batch_statistics_of_each(models: Sequence[nn.Module], images: Tensor) -> BatchStatistics:
    """The same one after another, where each batch has a model of its own, all of one architecture."""
    single = [batch_statistics_of(model, own[None]) for model, own in zip(models, images, strict=True)]
    return [
        (torch.cat([mean for mean, _ in layer]), torch.cat([variance for _, variance in layer]))
        for layer in zip(*single, strict=True)
    ]


def batch_statistics(model: nn.Module, images: Tensor) -> BatchStatistics:
    """Statistics, each (C,), of one client's images (N, 3, H, W), as it may upload them (level 4, Sec. 2.2)."""
    with torch.no_grad():
        return [(mean[0], variance[0]) for mean, variance in batch_statistics_of(model, images[None])]
