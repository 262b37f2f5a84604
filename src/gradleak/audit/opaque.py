"""TorchScript as one function of its trainable parameters."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Opaque(nn.Module):
    """Has a script's trainable parameters under their names, and none of its layers.

    The engine therefore takes its general path, which calls `forward` with parameters of its own. Frozen parameters
    and buffers stay inside: a client does not share them.
    """

    def __init__(self, network: torch.jit.ScriptModule) -> None:
        super().__init__()
        self._hidden = (network,)  # in a tuple: not a submodule
        # Layers may share a parameter, which has to be put in the place of each.
        first: dict[tuple[int, torch.Size], str] = {}
        self._places: dict[str, str] = {}
        for name, parameter in network.named_parameters(remove_duplicate=False):
            if parameter.requires_grad:
                self._places[name] = first.setdefault((parameter.data_ptr(), parameter.shape), name)
            if self._places.get(name) == name:
                *path, leaf = name.split(".")
                holder: nn.Module = self
                for part in path:
                    if part not in holder._modules:
                        holder.add_module(part, nn.Module())
                    holder = holder.get_submodule(part)
                holder.register_parameter(leaf, nn.Parameter(parameter.detach().clone()))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, 3, H, W) to logits (n, classes)."""
        (network,) = self._hidden
        own = dict(self.named_parameters())
        parameters: dict[str, Tensor] = {place: own[name] for place, name in self._places.items()}
        # `functional_call` refuses TorchScript. Its optimised executor gives second derivatives that are off by 1e-3.
        with _placed(network, parameters), torch.jit.optimized_execution(False):
            return network(images)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Opaque":
        self._hidden[0]._apply(fn)
        return super()._apply(fn, recurse)


@contextmanager
def _placed(script: torch.jit.ScriptModule, parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Put tensors in the place of a script's parameters, and restore these at the end."""
    own = dict(script.named_parameters(remove_duplicate=False))
    _place(script, parameters)
    try:
        yield
    finally:
        _place(script, {name: own[name] for name in parameters})


def _place(script: torch.jit.ScriptModule, tensors: Mapping[str, Tensor]) -> None:
    modules = dict(script.named_modules(remove_duplicate=False))  # a script has no get_submodule
    for name, value in tensors.items():
        path, _, leaf = name.rpartition(".")
        setattr(modules[path], leaf, value)
