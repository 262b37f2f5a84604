"""Total variation (Rudin et al. 1992; as p_TV in Geiping et al. 2020): neighbouring pixels are alike."""

from torch import Tensor

from gradleak.priors.base import PRIORS, Moments, Prior


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.diff(dim=-1).abs(), images.diff(dim=-2).abs()


@PRIORS.register("tv")
class MeanTotalVariation(Prior):
    """Mean absolute difference of horizontal plus that of vertical neighbours, over pixels, channels and images."""

    def __call__(self, images: Tensor, moments: Moments) -> Tensor:
        """Penalty (T,)."""
        across, down = _differences(images)
        return across.mean(dim=(1, 2, 3, 4)) + down.mean(dim=(1, 2, 3, 4))


@PRIORS.register("tv_sum")
class SummedTotalVariation(Prior):
    """Total variation as a sum over pixels and channels, averaged over images.

    The paper's ratio of 1e-5 (Appx. B.I) can be read so: on a 32x32 image it equals a weight of 0.03 on `tv`. Small
    models need that much to see a difference. Attacks on GoogLeNet come twice as close with 1e-5 as with 0.005 of the
    mean (docs/measurements.md).
    """

    def __call__(self, images: Tensor, moments: Moments) -> Tensor:
        """Penalty (T,)."""
        across, down = _differences(images)
        return (across.sum(dim=(2, 3, 4)) + down.sum(dim=(2, 3, 4))).mean(dim=1)
