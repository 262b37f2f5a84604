"""LPIPS: the learned perceptual distance (Zhang et al. 2018, AlexNet, version 0.1)."""

import warnings
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from gradleak.compat import prepare_torchvision
from gradleak.metrics.backbone import load_backbone
from gradleak.metrics.base import METRICS, Column, Measure, Metric, check_pair
from gradleak.metrics.regions import regions

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
        self._normalize = lpips.normalize_tensor
        slices = {name.split(".", 1)[1]: name for name in self._network.net.state_dict()}
        self._network.net.load_state_dict({slices[name]: tensor for name, tensor in weights.items()})
        self._network.eval().requires_grad_(False)

    def __call__(self, truth: Tensor, reconstructed: Tensor) -> Tensor:
        """Distance of each pair (n, 3, h, w) in [0, 1]: shape (n,), 0 for identical images, lower is closer.

        Computed on the CPU in float32, in chunks of 64. The network needs 32 x 32 pixels: smaller images are
        enlarged bilinearly so that their short side has 32.
        """
        return self.with_maps(truth, reconstructed)[0]

    @torch.no_grad()
    def with_maps(self, truth: Tensor, reconstructed: Tensor) -> tuple[Tensor, Tensor]:
        """Distances (n,) as from a call, and maps (n, h, w) of where they arise, from one pass of the network.

        A map is the sum over layers of their distances, each interpolated bilinearly to h x w (`spatial=True` in
        the lpips package). Layers are coarse: of an image of 32 px they have 7 x 7, 3 x 3 and three times 1 x 1
        positions, of one of 128 px 31 x 31, 15 x 15 and 7 x 7. Maps of small images hence tell regions apart weakly.
        """
        check_pair(truth, reconstructed)
        size = list(truth.shape[2:])
        values, maps = [], []
        for a, b in zip(truth.split(CHUNK), reconstructed.split(CHUNK), strict=True):
            layers = self._layers(_scaled(a), _scaled(b))
            values.append(_sum([layer.mean(dim=(2, 3)) for layer in layers])[:, 0])
            maps.append(_sum([_resized(layer, size) for layer in layers])[:, 0])
        if not values:
            return torch.empty(0), torch.empty(0, *size)
        return torch.cat(values), torch.cat(maps)

    def _layers(self, truth: Tensor, reconstructed: Tensor) -> list[Tensor]:
        """Weighted squared differences of normalised features, (n, 1, h_l, w_l) per layer: what LPIPS averages."""
        network = self._network
        features = [network.net(network.scaling_layer(images)) for images in (truth, reconstructed)]
        pairs = zip(network.lins, *features, strict=True)
        return [weigh((self._normalize(a) - self._normalize(b)) ** 2) for weigh, a, b in pairs]


def measure(cache: Path) -> Measure:
    """`lpips`, and `lpips_detail`, `lpips_background`: the mean of the LPIPS map over a region of the truth."""
    network = Lpips(cache)

    def columns(truth: Tensor, reconstructed: Tensor) -> dict[str, Tensor]:
        values, maps = network.with_maps(truth, reconstructed)
        detail, background = regions(truth).averages(maps)
        return {"lpips": values, "lpips_detail": detail, "lpips_background": background}

    return columns


def _sum(layers: list[Tensor]) -> Tensor:
    return torch.stack(layers).sum(dim=0)


def _resized(images: Tensor, size: list[int]) -> Tensor:
    return functional.interpolate(images, size=size, mode="bilinear", align_corners=False)


def _scaled(images: Tensor) -> Tensor:
    images = images.detach().float().cpu()
    shortest = min(images.shape[2:])
    if shortest < SMALLEST:
        size = [round(side * SMALLEST / shortest) for side in images.shape[2:]]
        images = _resized(images, size)
    return images * 2 - 1


METRICS.register("lpips")(
    Metric(
        {
            "lpips": Column("LPIPS", "lower"),
            "lpips_detail": Column("LPIPS of details", "lower", "region"),
            "lpips_background": Column("LPIPS of background", "lower", "region"),
        },
        measure,
    )
)
