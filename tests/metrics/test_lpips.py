import warnings

import pytest
import torch

from gradleak.data.opening import open_dataset
from gradleak.errors import UserError
from gradleak.metrics.lpips import Lpips, measure


@pytest.fixture(scope="module")
def distance(cache):
    return Lpips(cache)


@pytest.fixture(scope="module")
def crops():
    return open_dataset("photos10", 64, {}).images("test", range(10))


def test_recorded_distances(distance, crops):
    # Recorded with the same network on the CPU (torch 2.13), after it had given 0.7219 and 0.1376 on the
    # metric's own example pairs, whose published values are 0.722 and 0.138.
    noisy = (crops[:1] + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    values = [distance(crops[:1], crops[8:9]).item(), distance(crops[:1], noisy).item()]
    assert values == pytest.approx([0.7109, 0.1578], abs=2e-4)


def test_identical_images_have_distance_zero_and_order_does_not_matter(distance, crops):
    assert distance(crops, crops).tolist() == [0.0] * 10
    assert torch.allclose(distance(crops, crops.flip(0)), distance(crops.flip(0), crops), atol=1e-6)


def test_chunks_do_not_change_values(distance, crops):
    many = crops.repeat(13, 1, 1, 1)
    values = distance(many, many.flip(0))
    assert values.shape == (130,)
    alone = torch.cat([distance(many[i : i + 1], many.flip(0)[i : i + 1]) for i in (0, 63, 64, 129)])
    assert torch.allclose(values[[0, 63, 64, 129]], alone, atol=1e-5)


@pytest.mark.parametrize("spatial", [False, True])
def test_equal_to_the_lpips_package(distance, crops, spatial):
    network = distance._network
    network.spatial = spatial
    theirs = network(crops, crops.flip(0), normalize=True)[:, 0]
    network.spatial = False
    values, maps = distance.with_maps(crops, crops.flip(0))
    ours, theirs = (maps, theirs) if spatial else (values, theirs[:, 0, 0])
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_an_error_in_the_detail_is_one_of_the_detail(cache):
    # Right half: stripes, which the reconstruction has grey. Left half: a flat colour, which it has exactly.
    truth = torch.full((1, 3, 128, 128), 0.5)
    truth[..., 64:] = (torch.arange(128).div(4, rounding_mode="floor") % 2).view(1, 1, 128, 1).expand(-1, -1, -1, 64)
    values = measure(cache)(truth, torch.full_like(truth, 0.5))
    assert values["lpips_background"].item() < 0.5 * values["lpips_detail"].item()
    assert values["lpips_background"] < values["lpips"] < values["lpips_detail"]


@pytest.mark.parametrize("size", [8, 16, 31, 32])
def test_small_images(distance, size):
    images = open_dataset("photos10", size, {}).images("test", range(2))
    assert torch.isfinite(distance(images, images.flip(0))).all()
    assert (distance(images, images.flip(0)) > 0.01).all()
    assert distance.with_maps(images, images.flip(0))[1].shape == (2, size, size)


def test_construction_is_silent_and_leaves_the_generator_alone(cache, capfd):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Lpips(cache)
    assert torch.equal(before, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")


def test_missing_backbone_names_the_command(tmp_path):
    with pytest.raises(UserError, match="gradleak data fetch lpips"):
        Lpips(tmp_path)
