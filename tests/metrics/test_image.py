import math

import pytest
import torch

from gradleak.data.opening import open_dataset
from gradleak.metrics.image import PSNR_CAP, mse, psnr, ssim


@pytest.fixture(scope="module")
def images():
    return open_dataset("photos10", 32, {}).images("test", range(4))


def test_psnr_and_mse_follow_the_formula():
    truth = torch.zeros(2, 3, 8, 8)
    other = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.5)])
    assert mse(truth, other).tolist() == pytest.approx([0.01, 0.25], rel=1e-6)
    assert psnr(truth, other).tolist() == pytest.approx([20.0, 10 * math.log10(4)], rel=1e-6)


def test_identical_images(images):
    assert mse(images, images).tolist() == [0.0] * 4
    assert psnr(images, images).tolist() == [PSNR_CAP] * 4
    assert ssim(images, images).tolist() == pytest.approx([1.0] * 4)


def test_ssim_equals_a_direct_computation(images):
    truth, other = images[:1].double(), images[1:2].double()
    axis = torch.arange(-5, 6, dtype=torch.float64)
    line = torch.exp(-(axis**2) / (2 * 1.5**2))
    kernel = torch.outer(line / line.sum(), line / line.sum())[None, None].repeat(3, 1, 1, 1)

    def mean(values):
        return torch.nn.functional.conv2d(values, kernel, groups=3)

    a, b = mean(truth), mean(other)
    va, vb = mean(truth**2) - a**2, mean(other**2) - b**2
    covariance = mean(truth * other) - a * b
    c1, c2 = 0.01**2, 0.03**2
    expected = ((2 * a * b + c1) * (2 * covariance + c2)) / ((a**2 + b**2 + c1) * (va + vb + c2))
    assert ssim(images[:1], images[1:2]).item() == pytest.approx(expected.mean().item(), abs=1e-9)


@pytest.mark.parametrize("size", [8, 9, 10, 11])
def test_ssim_of_small_images(size):
    images = open_dataset("photos10", size, {}).images("test", range(2))
    assert ssim(images, images).tolist() == pytest.approx([1.0, 1.0])
    assert ssim(images, images.flip(0)).abs().max() < 1


def test_values_are_per_image(images):
    other = images.clone()
    other[2] = 1 - other[2]
    for metric in (mse, psnr, ssim):
        changed = metric(images, other) != metric(images, images)
        assert changed.tolist() == [False, False, True, False]


def test_bad_input_is_refused(images):
    for other in (images[:2], images + 0.5, images * float("nan"), images[0]):
        with pytest.raises(ValueError, match=r"allowed|must be in"):
            mse(images, other)
