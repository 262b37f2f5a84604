"""How good a generator is: do its samples look like data, and are they more than copies of the training images?"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradleak.auxiliary.base import PerImage, Samples, some
from gradleak.data.roles import PublicImages, TuningImages
from gradleak.models.convnet import ConvNet

QUALITY_SAMPLES = 100
_COMPARED = 5000
_CLASSIFIER_STEPS = 150


def generator_quality(
    samples: Samples, public: PublicImages, tuning: TuningImages, lpips: PerImage
) -> dict[str, float]:
    """Numbers of a generator's samples beside the same numbers of real images that it was not trained on.

    `nearest_lpips`: mean LPIPS to the public image with the least squared error (near 0: copies; far above
    `nearest_lpips_real`: not like data). `classifier_accuracy` (only for a conditional generator): share of samples
    that a small classifier, trained on public images, assigns to the class that was asked for. `classes_seen`: how
    many of the classes it assigns to any sample, as a share of those that so many samples could show.
    """
    held_out = some(len(samples.images), tuning.size)
    real, real_labels = tuning.images(held_out), tuning.labels(held_out)
    pool = some(_COMPARED, public.size)
    compared = public.images(pool)
    classifier = _classifier(public, compared, public.labels(pool))
    with torch.no_grad():
        found, found_real = (classifier(images).argmax(dim=1) for images in (samples.images, real))
    seen = set(found.tolist()) & set(public.classes)
    quality = {
        "nearest_lpips": _nearest(samples.images, compared, lpips),
        "nearest_lpips_real": _nearest(real, compared, lpips),
        "classes_seen": len(seen) / min(len(public.classes), len(found)),
        "classifier_accuracy_real": float((found_real == real_labels).float().mean()),
    }
    if samples.labels is not None:
        quality["classifier_accuracy"] = float((found == samples.labels).float().mean())
    return quality


def _nearest(images: Tensor, candidates: Tensor, lpips: PerImage) -> float:
    nearest = torch.cdist(images.flatten(1), candidates.flatten(1)).argmin(dim=1)
    return float(lpips(images.clamp(0, 1), candidates[nearest]).mean())


def _classifier(public: PublicImages, images: Tensor, labels: Tensor) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ConvNet(public.num_classes, public.resolution, channels=16, layers=1, norm=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    random = torch.Generator().manual_seed(0)
    for _ in range(_CLASSIFIER_STEPS):
        index = torch.randint(len(images), (64,), generator=random)
        optimizer.zero_grad()
        F.cross_entropy(model(images[index] * 2 - 1), labels[index]).backward()
        optimizer.step()
    return _Scaled(model.eval())


class _Scaled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * 2 - 1)
