import hashlib
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from gradleak.compat import prepare_torchvision
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A CIFAR-10 root in torchvision's layout with 4 train and 2 test images."""
    prepare_torchvision()
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar10" / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def put(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    rows = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
    train = put("data_batch_1", {"data": rows[:4], "labels": [3, 1, 2, 9]})
    test = put("test_batch", {"data": rows[4:], "labels": [7, 0]})
    names = put("batches.meta", {"label_names": [str(number) for number in range(10)]})
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", train]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", test]])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": names})
    return tmp_path, rows


def test_cifar_root(cifar):
    cache, rows = cifar
    dataset = open_dataset("cifar10", 32, {}, cache)
    assert (dataset.size("train"), dataset.size("test")) == (4, 2)
    assert dataset.labels("test", [1, 0]).tolist() == [0, 7]
    expected = torch.from_numpy(rows[5].reshape(3, 32, 32).astype(np.float32)) / 255
    assert torch.equal(dataset.images("test", [1])[0], expected)
    assert dataset.class_names[9] == "truck"
    assert len(dataset.fingerprint()) == 64
    assert open_dataset("cifar10", 16, {}, cache).images("train", [0]).shape == (1, 3, 16, 16)


def test_fetch_keeps_what_is_there(cifar):
    cache, _ = cifar
    open_dataset("cifar10", 32, {}, cache).fetch()


def test_damaged_root_is_refused(cifar):
    cache, _ = cifar
    (next(cache.glob("*/*/test_batch"))).write_bytes(b"damaged")
    with pytest.raises(UserError, match="no complete copy"):
        open_dataset("cifar10", 32, {}, cache).size("test")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_root_says_how_to_download(tmp_path, name):
    with pytest.raises(UserError, match=f"download it with `gradleak data fetch {name}`"):
        open_dataset(name, 32, {}, tmp_path).images("test", [0])
    assert not list(tmp_path.iterdir())


def test_imagenet_needs_an_existing_root(tmp_path):
    with pytest.raises(UserError, match=r"imagenet1k: no folder '.*val'; no program can download it"):
        open_dataset("imagenet1k", 64, {}, tmp_path)


def test_imagenet_folders_are_numbered_in_sorted_order(tmp_path):
    for split in ("train", "val"):
        for number in range(1000):
            (tmp_path / "imagenet1k" / split / f"n{number:08}").mkdir(parents=True)
        Image.new("RGB", (40, 30), "red").save(tmp_path / "imagenet1k" / split / "n00000207" / "x.JPEG")
    dataset = open_dataset("imagenet1k", 16, {}, tmp_path)
    assert dataset.size("test") == 1
    assert dataset.labels("test", [0]).tolist() == [207]
    assert dataset.class_names[207] == "golden retriever"
    assert dataset.images("test", [0]).shape == (1, 3, 16, 16)
