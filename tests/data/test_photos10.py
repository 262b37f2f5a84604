import numpy as np
import pytest
import torch
from PIL import Image

from gradleak.data import photos10
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError

RECORDED = (
    photos10.Box(left=111, top=407, right=212, bottom=508),
    photos10.Box(left=314, top=225, right=420, bottom=331),
)


@pytest.fixture(scope="module")
def dataset():
    return open_dataset("photos10", 32, {})


def test_sizes_and_interleaved_labels(dataset):
    assert dataset.size("train") == 2000
    assert dataset.size("test") == 500
    assert dataset.num_classes == 10
    for start in (0, 7, 490):
        assert len(set(dataset.labels("test", range(start, start + 10)).tolist())) == 10
    assert dataset.labels("train", range(20)).tolist() == [*range(10)] * 2


def test_images_are_in_range_and_not_flat(dataset):
    images = dataset.images("test", range(500))
    assert images.shape == (500, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std(dim=(1, 2, 3)).min() > 0.05


def test_crops_are_deterministic_and_independent_of_the_order_of_asking(dataset):
    again = open_dataset("photos10", 32, {})
    picked = again.images("test", [17, 3])
    assert torch.equal(picked, dataset.images("test", range(20))[[17, 3]])
    assert again.fingerprint() == dataset.fingerprint()


def test_crops_are_the_recorded_ones(dataset):
    # Recorded when the crops were fixed: published results depend on them.
    assert dataset.box("test", 0) == RECORDED[0]
    assert dataset.box("train", 1999) == RECORDED[1]


def test_train_and_test_share_no_pixel(dataset):
    for label in range(10):
        width, height = dataset._photo(label).size
        used = {}
        for split in ("train", "test"):
            used[split] = np.zeros((height, width), dtype=bool)
            for index in range(label, dataset.size(split), 10):
                box = dataset.box(split, index)
                assert 0 <= box.left < box.right <= width
                assert 0 <= box.top < box.bottom <= height
                assert box.right - box.left == box.bottom - box.top >= photos10.SMALLEST_SIDE
                used[split][box.top : box.bottom, box.left : box.right] = True
        assert not (used["train"] & used["test"]).any(), dataset.class_names[label]


def test_pixels_outside_the_box_do_not_reach_the_image(dataset):
    other = open_dataset("photos10", 32, {})
    box = other.box("test", 5)
    painted = Image.new("RGB", other._photo(5).size, "magenta")
    painted.paste(other._photo(5).crop((box.left, box.top, box.right, box.bottom)), (box.left, box.top))
    other._photos[5] = painted
    assert torch.equal(other.images("test", [5]), dataset.images("test", [5]))


def test_resolutions_agree_about_content(dataset):
    large = open_dataset("photos10", 64, {})
    assert torch.equal(large.labels("test", range(30)), dataset.labels("test", range(30)))
    assert large.fingerprint() == dataset.fingerprint()
    shrunk = torch.nn.functional.avg_pool2d(large.images("test", range(30)), 2)
    assert (shrunk - dataset.images("test", range(30))).abs().mean() < 0.03


def test_normalisation_is_that_of_the_training_crops(dataset):
    images = dataset.images("train", range(2000))
    assert torch.allclose(images.mean(dim=(0, 2, 3)), torch.tensor(dataset.mean), atol=2e-3)
    assert torch.allclose(images.std(dim=(0, 2, 3)), torch.tensor(dataset.std), atol=2e-3)


def test_missing_photograph_names_package_and_file(monkeypatch):
    monkeypatch.setitem(photos10.PHOTOS, "astronaut", photos10.Photo("skimage", "data/none.png", "x", 0.4))
    with pytest.raises(UserError, match=r"skimage lacks 'data/none\.png'"):
        open_dataset("photos10", 32, {}).images("test", [0])
