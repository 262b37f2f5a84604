"""The problem whose IGSA is estimated: a model with a client's images, its layers and their weights omega."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import grad

from gradleak.engine.device import halve_on_oom, trials_that_fit
from gradleak.errors import UserError
from gradleak.federated.client import Parameters, mean_loss, parameters_of
from gradleak.models.base import batch_norm_layers
from gradleak.smoothness.spec import Order, Precision


def layers_of(model: nn.Module) -> list[list[str]]:
    """The names of each layer's parameters, in the order of the model's modules (the input's side first).

    A layer is a module with parameters of its own: weight and bias of a convolution, of a linear layer or of a batch
    normalisation are one layer. Parameters that do not train count, too. One that several modules share counts for the
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


class Problem:
    """The input-gradient function Phi of a client: images (N, 3, H, W) -> gradient of its mean loss, by parameter.

    The model is copied, to the precision asked for and into evaluation mode. The images follow it to its device.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, precision: Precision) -> None:
        """`images` (N, 3, H, W) in [0, 1], `labels` (N,) integers. Raises UserError for anything else."""
        _check(model, images, labels)
        dtype = {"float64": torch.float64, "float32": torch.float32}[precision]
        self.model = copy.deepcopy(model).to(dtype).eval().requires_grad_(True)
        parameter = next(self.model.parameters())
        self.images = images.detach().to(parameter.device, dtype)
        self._labels = labels.to(parameter.device)
        self._parameters = parameters_of(self.model)
        self._gradient = grad(mean_loss, argnums=1)

    def gradient(self, images: Tensor) -> Parameters:
        """Phi: the gradient of the mean loss of images (N, 3, H, W) with the client's labels."""
        return self._gradient(self.model, self._parameters, images, self._labels)

    def at_once(self, run: Callable[[int], Tensor]) -> Tensor:
        """Call `run` with the number of draws that fit into memory at once, and with fewer if they do not after all."""
        samples, channels, height, width = self.images.shape
        return halve_on_oom(run, trials_that_fit(self.model, (channels, height, width), samples, steps=1))


def _check(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise UserError(f"IGSA: images are {tuple(images.shape)}, allowed: (N, 3, H, W) with N >= 1")
    if not bool(((images >= 0) & (images <= 1)).all()):  # written so that not-a-number fails too
        raise UserError(f"IGSA: images must be in [0, 1], found {images.min():g} to {images.max():g}")
    if labels.shape != (len(images),):
        raise UserError(f"IGSA: labels are {tuple(labels.shape)}, must be ({len(images)},): one for each image")
    for name, layer in batch_norm_layers(model).items():
        if layer.running_mean is None:
            raise UserError(f"IGSA: layer '{name}' has no running statistics; needed, it is taken in evaluation mode")
