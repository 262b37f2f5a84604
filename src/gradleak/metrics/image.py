"""MSE, PSNR and SSIM of image pairs."""

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from gradleak.metrics.base import METRICS, check_pair, one_column

PSNR_CAP = 100.0
"""dB. Identical images have no finite PSNR; the cap keeps tables finite, above what 8-bit images reach."""

SSIM_SIGMA = 1.5
SSIM_WINDOW = 11


def mse(truth: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean squared error of each pair (n, 3, h, w) in [0, 1]: shape (n,), float64, 0 to 1."""
    check_pair(truth, reconstructed)
    return (truth.double() - reconstructed.double()).square().mean(dim=(1, 2, 3)).cpu()


def psnr(truth: Tensor, reconstructed: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair (n, 3, h, w) in [0, 1]: shape (n,), in dB.

    -10 log10(MSE), at most 100 dB (identical images).
    """
    return (-10 * mse(truth, reconstructed).log10()).clamp(max=PSNR_CAP)


def ssim(truth: Tensor, reconstructed: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each pair (n, 3, h, w) in [0, 1]: shape (n,), -1 to 1.

    scikit-image with the original paper's settings: Gaussian weights of standard deviation 1.5 px (truncated
    at 5 px, hence an 11 x 11 window), no sample covariance, data range 1, averaged over channels and over the
    pixels whose window fits in the image. In images below 11 px the border left out of the average shrinks to
    that of the largest odd window that fits. The weights stay.
    """
    check_pair(truth, reconstructed)
    shortest = min(truth.shape[2:])
    window = min(SSIM_WINDOW, shortest - 1 + shortest % 2)
    pairs = zip(_arrays(truth), _arrays(reconstructed), strict=True)
    values = [
        structural_similarity(
            a,
            b,
            win_size=window,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            channel_axis=0,
            data_range=1.0,
        )
        for a, b in pairs
    ]
    return torch.tensor(values, dtype=torch.float64)


def _arrays(images: Tensor) -> np.ndarray:
    return images.detach().double().cpu().numpy()


METRICS.register("mse")(one_column("mse", "MSE", "lower", lambda cache: mse))
METRICS.register("psnr")(one_column("psnr", "PSNR (dB)", "higher", lambda cache: psnr, digits=2))
METRICS.register("ssim")(one_column("ssim", "SSIM", "higher", lambda cache: ssim, digits=3))
