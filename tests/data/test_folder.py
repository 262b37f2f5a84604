import numpy as np
import pytest
import torch
from PIL import Image

from gradleak.data.base import DataSource
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError


def save(path, number, size=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(number)
    Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)


def opened(path, name="mine", resolution=8):
    return open_dataset(name, resolution, {name: DataSource(source="folder", path=path)})


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_split_folders(tmp_path, held_out):
    for split in ("train", held_out):
        for name in ("zebra", "ant"):
            for number in range(3):
                save(tmp_path / split / name / f"{number}.png", number)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    dataset = opened(tmp_path)
    assert dataset.class_names == ("ant", "zebra")
    assert (dataset.size("train"), dataset.size("test")) == (6, 6)
    assert dataset.labels("test", range(6)).tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(dataset.images("test", [1]), dataset.images("test", [4]))


def test_folder_without_splits_is_divided_disjointly(tmp_path):
    for number in range(20):
        save(tmp_path / f"class{number // 10}" / f"{number:02}.png", number)
    dataset = opened(tmp_path)
    assert (dataset.size("train"), dataset.size("test")) == (16, 4)
    images = torch.cat([dataset.images("train", range(16)), dataset.images("test", range(4))])
    assert len(images.flatten(1).unique(dim=0)) == 20


def test_registered_name_maps_folders_to_its_classes(tmp_path):
    for name in ("frog", "cat"):
        for number in range(2):
            save(tmp_path / "train" / name / f"{number}.jpg", number)
            save(tmp_path / "test" / name / f"{number}.jpg", number)
    dataset = opened(tmp_path, "cifar10")
    assert dataset.labels("test", range(4)).tolist() == [3, 3, 6, 6]
    assert dataset.num_classes == 10
    save(tmp_path / "train" / "unicorn" / "0.png", 0)
    with pytest.raises(UserError, match=r"has 3 class folders .* 'cifar10' has 10 classes"):
        opened(tmp_path, "cifar10").labels("train", [0])


def test_folders_with_other_names_take_their_sorted_order(tmp_path):
    for number in range(10):
        save(tmp_path / f"n{number:08}" / "0.png", number)
    dataset = opened(tmp_path, "cifar10")
    labels = [*dataset.labels("train", range(8)).tolist(), *dataset.labels("test", range(2)).tolist()]
    assert sorted(labels) == [*range(10)]


def test_unreadable_image_is_named(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "a" / "0.png", 0)
    (tmp_path / "test" / "a" / "0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"0\.png: cannot be read as an image"):
        opened(tmp_path).images("test", [0])


def test_empty_folders(tmp_path):
    with pytest.raises(UserError, match="has no class subfolders"):
        opened(tmp_path)
    (tmp_path / "a").mkdir()
    save(tmp_path / "a" / "0.png", 0)
    with pytest.raises(UserError, match="found 1 images, at least 2"):
        opened(tmp_path).size("train")
    with pytest.raises(UserError, match="is not a folder of images"):
        opened(tmp_path / "a" / "0.png")


def test_fingerprint_follows_the_content(tmp_path):
    for number in range(3):
        save(tmp_path / "a" / f"{number}.png", number)
    before = opened(tmp_path).fingerprint()
    assert before == opened(tmp_path).fingerprint()
    save(tmp_path / "a" / "1.png", 9)
    assert opened(tmp_path).fingerprint() != before
