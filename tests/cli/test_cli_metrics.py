import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from gradleak.cli.tools import metrics
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError


@pytest.fixture
def crops(tmp_path):
    images = (open_dataset("photos10", 64, {}).images("test", [0, 8]) * 255).round().to(torch.uint8)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return paths


def invoke(*arguments):
    return CliRunner().invoke(metrics, [str(argument) for argument in arguments])


def test_prints_one_json_object(crops, cache):
    result = invoke(*crops, "--cache", cache)
    assert result.exit_code == 0, result.exception
    values = json.loads(result.stdout)
    assert {"lpips", "psnr", "ssim", "mse"} <= set(values)
    same = json.loads(invoke(crops[0], crops[0], "--cache", cache).stdout)
    assert same == {"lpips": 0.0, "mse": 0.0, "psnr": 100.0, "ssim": 1.0}


def test_missing_backbone_is_fetched(crops, cache, tmp_path, monkeypatch):
    from gradleak.metrics import backbone

    fetched = []

    def fetch(folder):
        fetched.append(folder)
        folder.mkdir()
        (folder / backbone.WEIGHTS).write_bytes((cache / backbone.WEIGHTS).read_bytes())

    monkeypatch.setattr(backbone, "fetch_backbone", fetch)
    result = invoke(*crops, "--cache", tmp_path / "new")
    assert fetched == [tmp_path / "new"]
    assert "fetching the LPIPS backbone" in result.stderr
    assert json.loads(result.stdout)["lpips"] > 0


def test_different_sizes_and_unreadable_files(crops, tmp_path):
    Image.new("RGB", (32, 16)).save(tmp_path / "small.png")
    result = invoke(crops[0], tmp_path / "small.png")
    assert isinstance(result.exception, UserError)
    assert "is 64x64" in str(result.exception)
    assert "is 32x16" in str(result.exception)
    (tmp_path / "text.png").write_text("no image")
    for path in (tmp_path / "text.png", tmp_path / "missing.png"):
        result = invoke(crops[0], path)
        assert isinstance(result.exception, UserError)
        assert "cannot be read" in str(result.exception)
        assert result.stdout == ""
