"""Layers of a model and their weights omega: the weighted average of per-layer norms of Eq. 10."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gradleak.smoothness.settings import Order


def layers_of(model: nn.Module) -> list[list[str]]:
    """The names of each layer's parameters, in the order of the model's modules (the input's side first).

    A layer is a module with parameters of its own: weight and bias of a convolution, of a linear layer or of a batch
    normalisation are one layer. Parameters that do not train count, too; one that several modules share counts for the
    first of them.
    """
    layers: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return list(layers.values())


def layer_weights(count: int, order: Order) -> Tensor:
    """The weights omega of L = `count` layers, the input's side first: (L,) float64, between 1 + 1/L and 2.

    The paper prints [1 + 1/L, 1 + 1/(L-1), ..., 2] and says that it "assigns higher weights to the shallow layers".
    Shallow layers are those next to the input, so `backward` goes through the printed vector from the output to the
    input: layer l, counted from the input and from 1, weighs 1 + 1/l. `forward` takes the printed vector in the
    model's own order, against that sentence: layer l weighs 1 + 1/(L - l + 1), the last one 2.
    """
    from_input = 1 + 1 / torch.arange(1, count + 1, dtype=torch.float64)
    return from_input if order == "backward" else from_input.flip(0)


class LayerNorm:
    """The norm of Eq. 10 on changes of the gradient: the mean over layers of omega_l times the layer's l2-norm."""

    def __init__(self, model: nn.Module, order: Order) -> None:
        self._layers = layers_of(model)
        self._weights = layer_weights(len(self._layers), order)

    def __call__(self, change: Mapping[str, Tensor]) -> Tensor:
        """Take K changes, (K, *parameter) by name; return their norms, (K,) float64 on the CPU."""
        squares = [
            torch.stack([change[name].flatten(1).square().sum(1, dtype=torch.float64) for name in names]).sum(0)
            for names in self._layers
        ]
        return torch.stack(squares).sqrt().cpu().mul(self._weights[:, None]).mean(0)
