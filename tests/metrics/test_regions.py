"""Regions of detail: which pixels they are, and that an error counts only where it is."""

import pytest
import torch

from gradleak.metrics.regions import detail, high_frequency_errors, high_pass, regions


@pytest.fixture
def truth():
    """One flat image but for a checkerboard, 0.3 and 0.7, in its lower right quarter (rows and columns 16 to 31)."""
    images = torch.full((1, 3, 32, 32), 0.5)
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    images[..., 16:, 16:] = 0.3 + 0.4 * ((rows + columns) % 2)
    return images


def errors(truth, other):
    return {name: values.item() for name, values in high_frequency_errors(truth, other).items()}


def test_regions_follow_the_energy(truth):
    found = regions(truth)
    assert (found.detail.sum().item(), found.background.sum().item()) == (256, 512)
    assert not (found.detail & found.background).any()
    assert found.detail[0, 18:, 18:].all()
    assert not found.detail[0, :14].any()
    assert not found.background[0, 14:, 14:].any()


def test_an_error_in_the_detail_only(truth):
    other = truth.clone()
    other[..., 16:, 16:] = 0.5
    found = errors(truth, other)
    # The high-pass of a fine checkerboard is nearly itself: amplitude 0.2.
    assert found["hf_detail"] == pytest.approx(0.2, abs=0.02)
    assert found["hf_background"] < 1e-3


def test_an_error_in_the_background_only(truth):
    other = truth.clone()
    other[..., :8, ::2] = 0.6
    found = errors(truth, other)
    assert found["hf_background"] > 0.02
    assert found["hf_detail"] < 1e-6


def test_a_shift_in_brightness_is_no_lost_detail(truth):
    assert errors(truth, truth + 0.1) == pytest.approx(errors(truth, truth), abs=1e-6)
    assert errors(truth, truth)["hf_detail"] == 0.0


def test_regions_come_from_the_truth_alone(truth):
    other = truth.flip(2, 3)
    assert errors(truth, other)["detail"] == errors(truth, truth)["detail"]
    both = high_frequency_errors(torch.cat([truth, other]), torch.cat([other, truth]))
    # Mirrored truth, mirrored regions: the same errors.
    assert torch.allclose(both["hf_detail"][0], both["hf_detail"][1], atol=0.01)


def test_detail_orders_images_and_ignores_size(truth):
    flat, weak = torch.full_like(truth, 0.4), 0.5 + 0.5 * (truth - 0.5)
    values = detail(torch.cat([flat, weak, truth]))
    assert values[0] < 1e-6
    assert values[2].item() == pytest.approx(2 * values[1].item(), rel=1e-5)
    # A quarter of the pixels with amplitude 0.2.
    assert values[2].item() == pytest.approx(0.1, abs=0.01)
    large = truth.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert detail(large).item() == pytest.approx(values[2].item(), rel=0.1)


def test_high_pass_blurs_with_one_pixel_at_32():
    image = torch.zeros(1, 33, 33)
    image[0, 16, 16] = 1.0
    line = torch.exp(-(torch.arange(-16, 17, dtype=torch.float64) ** 2) / (2 * (33 / 32) ** 2))
    kernel = torch.outer(line / line.sum(), line / line.sum())
    assert torch.allclose(image[0].double() - high_pass(image)[0], kernel, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (8, 5)])
def test_tiny_images_have_both_regions(size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = high_frequency_errors(images, images.flip(0))
    assert all(torch.isfinite(values).all() for values in found.values())
