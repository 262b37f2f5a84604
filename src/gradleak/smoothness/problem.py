"""Where IGSA is taken: a checked copy of the model with the client's images, and how many draws fit at once."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import grad

from gradleak.engine.device import halve_on_oom, trials_that_fit
from gradleak.errors import UserError
from gradleak.federated.client import Parameters, mean_loss, parameters_of
from gradleak.models.base import batch_norm_layers
from gradleak.smoothness.settings import Precision


class Problem:
    """The input-gradient function Phi of a client: images (N, 3, H, W) -> gradient of its mean loss, by parameter.

    The model is copied, to the precision asked for and into evaluation mode; the images follow it to its device.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, precision: Precision) -> None:
        """`images` (N, 3, H, W) in [0, 1], `labels` (N,) integers. Raises UserError for anything else."""
        _check(model, images, labels)
        dtype = {"float64": torch.float64, "float32": torch.float32}[precision]
        self.model = copy.deepcopy(model).to(dtype).eval()
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
        samples, *shape = self.images.shape
        channels, height, width = shape
        return halve_on_oom(run, trials_that_fit(self.model, (channels, height, width), samples, steps=1))


def _check(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] != 3 or not len(images):
        raise UserError(f"IGSA: images are {tuple(images.shape)}, allowed: (N, 3, H, W) with N >= 1")
    if not bool(((images >= 0) & (images <= 1)).all()):  # written so that not-a-number fails too
        raise UserError(f"IGSA: images must be in [0, 1], found {images.min():g} to {images.max():g}")
    if labels.shape != (len(images),):
        raise UserError(f"IGSA: labels are {tuple(labels.shape)}, must be ({len(images)},): one for each image")
    for name, layer in batch_norm_layers(model).items():
        if layer.running_mean is None:
            raise UserError(f"IGSA: layer '{name}' has no running statistics; needed, it is taken in evaluation mode")
