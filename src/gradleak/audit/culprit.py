"""Finds what in a model keeps attacks from its second derivative: a layer, or a function with a backward of its own."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from gradleak.engine.base import Matcher
from gradleak.models.base import Classifier
from gradleak.models.twice import plain_attention, written_out


def first_without_second_derivative(model: Classifier, images: Tensor) -> str:
    """The innermost layer, by name and kind, whose own second derivative fails or is not finite; else the network."""
    network = model.network
    calls: list[tuple[str, nn.Module, Any, Any]] = []

    def record(name: str) -> Callable[..., None]:
        return lambda module, inputs, options: calls.append((name, module, inputs, options))

    hooks = []
    if not _scripted(network):
        hooks = [m.register_forward_pre_hook(record(name), with_kwargs=True) for name, m in network.named_modules()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for name, module, inputs, options in sorted(calls, key=lambda call: -call[0].count(".") - bool(call[0])):
        if name and _fails(module, inputs, options):
            return f"layer '{name}' ({type(module).__name__})"
    return f"a function in {'a TorchScript model' if _scripted(network) else type(network).__name__}"


def surrogate(model: Classifier, candidates: Tensor, matcher: Callable[[Classifier], Matcher]) -> str | None:
    """The name of a custom function because of which the objective's gradient is not that of the objective.

    None where the model has no function with a backward in Python, or finite differences agree. A second derivative of
    such a function that is wrong, or of a stand-in (a straight-through estimator), raises no error.
    """
    names = {type(node).__name__ for node in _graph(model(candidates[0])) if isinstance(node, BackwardCFunction)}
    if not names:
        return None
    name = min(names).removesuffix("Backward")
    try:
        found = _differs(copy.deepcopy(model).double(), candidates.double(), matcher, step=1e-6, tolerance=1e-3)
    except Exception:  # the user's code may hold tensors in single precision
        found = _differs(model, candidates, matcher, step=1e-2, tolerance=0.3)
    return name if found else None


def _differs(
    model: Classifier, at: Tensor, matcher: Callable[[Classifier], Matcher], step: float, tolerance: float
) -> bool:
    """Whether the objective's gradient is off by a share, along itself or a random direction, by finite differences."""
    evaluate = matcher(model)

    def total(images: Tensor) -> float:
        return float(evaluate(images, _nothing).objective.sum())

    gradient = evaluate(at, _nothing).gradient
    random = torch.rand(at.shape, generator=torch.Generator().manual_seed(0)).to(at) - 0.5
    for direction in (gradient, random):
        along = direction / direction.norm().clamp_min(1e-30)
        slope = (total(at + step * along) - total(at - step * along)) / (2 * step)
        if abs(slope - float((gradient * along).sum())) > tolerance * max(abs(slope), float(gradient.norm()) / 10):
            return True
    return False


def _nothing(images: Tensor, moments: object) -> Tensor:
    return torch.zeros(len(images), device=images.device)


def _scripted(network: nn.Module) -> bool:
    return hasattr(network, "_hidden")


def _graph(answer: Tensor) -> Iterator[Any]:
    """All nodes of the graph behind a tensor."""
    waiting, seen = [answer.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
            yield node


def _fails(module: nn.Module, inputs: Any, options: Any) -> bool:
    def leaf(value: object) -> object:
        return (
            value.detach().clone().requires_grad_()
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
        )

    inputs, options = tuple(leaf(value) for value in inputs), {key: leaf(value) for key, value in options.items()}
    leaves = [value for value in (*inputs, *options.values()) if isinstance(value, Tensor) and value.requires_grad]
    leaves += [value for value in module.parameters() if value.requires_grad]
    try:
        with torch.enable_grad(), plain_attention(), written_out():
            answer = module(*inputs, **options)
            parts = answer if isinstance(answer, tuple | list) else [answer]
            parts = [part for part in parts if isinstance(part, Tensor) and part.requires_grad]
            slopes = torch.autograd.grad(_size(parts), leaves, create_graph=True, allow_unused=True)
            first = [part for part in slopes if part is not None and part.requires_grad]
            second = torch.autograd.grad(_size(first), leaves, allow_unused=True) if first else ()
    except Exception:  # whatever the user's layer raises
        return bool(leaves)
    return not all(bool(part.isfinite().all()) for part in second if part is not None)


def _size(parts: Any) -> Tensor:
    return torch.stack([part.square().sum() for part in parts]).sum()
