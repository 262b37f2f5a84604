"""LPIPS: the learned perceptual distance (Zhang et al. 2018, AlexNet, version 0.1)."""

import warnings
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from gradleak.compat import prepare_torchvision
from gradleak.metrics.backbone import load_backbone
from gradleak.metrics.base import METRICS, Metric, check_pair

CHUNK = 64
SMALLEST = 32


class Lpips:
    """The LPIPS distance with the AlexNet backbone that `fetch_backbone` put into `cache`.

    Raises UserError where the backbone is missing or damaged; never downloads.
    """

    def __init__(self, cache: Path) -> None:
        weights = load_backbone(cache)
        prepare_torchvision()
        # Building draws random weights, which are replaced at once: the caller's generator must not move.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torchvision\.models\._utils")
            import lpips

            self._network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        slices = {name.split(".", 1)[1]: name for name in self._network.net.state_dict()}
        self._network.net.load_state_dict({slices[name]: tensor for name, tensor in weights.items()})
        self._network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, truth: Tensor, reconstructed: Tensor) -> Tensor:
        """Distance of each pair (n, 3, h, w) in [0, 1]: shape (n,), 0 for identical images, lower is closer.

        Computed on the CPU in float32, in chunks of 64. The network needs 32 x 32 pixels: smaller images are
        enlarged bilinearly so that their short side has 32.
        """
        check_pair(truth, reconstructed)
        chunks = zip(truth.split(CHUNK), reconstructed.split(CHUNK), strict=True)
        values = [self._network(_scaled(a), _scaled(b)).flatten() for a, b in chunks]
        return torch.cat(values) if values else torch.empty(0)


def _scaled(images: Tensor) -> Tensor:
    images = images.detach().float().cpu()
    shortest = min(images.shape[2:])
    if shortest < SMALLEST:
        size = [round(side * SMALLEST / shortest) for side in images.shape[2:]]
        images = functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return images * 2 - 1


METRICS.register("lpips")(Metric("lpips", "LPIPS", "lower", Lpips))
