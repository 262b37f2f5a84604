from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from gradleak.data.base import DATASETS, DataSource
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError


def test_the_four_names_are_registered():
    assert DATASETS.names() == ["cifar10", "cifar100", "imagenet1k", "photos10"]
    for name in DATASETS.names():
        info = DATASETS[name]
        assert info.name == name
        assert len(info.class_names()) == info.num_classes


def test_unknown_name_lists_the_known():
    with pytest.raises(UserError, match=r"unknown data set 'cifar11'; known: cifar10, .*, mine, photos10"):
        open_dataset("cifar11", 32, {"mine": DataSource(source="folder", path=Path("x"))})


def test_source_must_serve_the_name():
    with pytest.raises(UserError, match=r"data\.cifar10\.source: 'embedded' .* allowed: parquet, folder, torchvision"):
        open_dataset("cifar10", 32, {"cifar10": DataSource(source="embedded")})
    with pytest.raises(UserError, match=r"data\.mine\.source: 'torchvision' has no 'mine'"):
        open_dataset("mine", 32, {"mine": DataSource(source="torchvision")})


def test_source_needs_an_existing_path(tmp_path):
    with pytest.raises(UserError, match=r"data\.mine\.path: missing"):
        open_dataset("mine", 32, {"mine": DataSource(source="parquet")})
    with pytest.raises(UserError, match=r"data\.mine\.path: '.*none' does not exist"):
        open_dataset("mine", 32, {"mine": DataSource(source="parquet", path=tmp_path / "none")})


def test_source_refuses_unknown_keys():
    with pytest.raises(ValidationError, match="Extra inputs"):
        DataSource.model_validate({"source": "folder", "paht": "x"})


@pytest.mark.parametrize("index", [500, -1])
def test_index_out_of_range_names_index_split_and_size(index):
    dataset = open_dataset("photos10", 16, {})
    with pytest.raises(UserError, match=rf"index {index} is outside split 'test' of 500 images"):
        dataset.images("test", [0, index])
    with pytest.raises(UserError, match=rf"index {index} is outside split 'test'"):
        dataset.labels("test", torch.tensor([index]))


def test_unknown_split_and_resolution():
    with pytest.raises(UserError, match="unknown split 'val'; allowed: train, test"):
        open_dataset("photos10", 16, {}).size("val")
    with pytest.raises(UserError, match="resolution is 0"):
        open_dataset("photos10", 0, {})


def test_no_indices_give_empty_tensors():
    dataset = open_dataset("photos10", 16, {})
    assert dataset.images("train", []).shape == (0, 3, 16, 16)
    assert dataset.labels("train", []).dtype == torch.int64
