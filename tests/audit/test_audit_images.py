"""Images of an audit: what is not read stands on the page, labels keep their classes, models may have one channel."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradleak.audit import source
from gradleak.audit.images import AuditImages
from gradleak.audit.source import open_network
from gradleak.audit.spec import AuditSpec, Checkpoint, ImageSource, ModelSource
from gradleak.data.base import DATASETS
from gradleak.models.base import build_model
from gradleak.specs import ModelSpec
from gradleak.stages.common import save_weights
from gradleak.study.config import Config


@pytest.fixture
def photos(folder):
    """Pictures of ten classes, and a file that is none."""
    for label in range(10):
        (folder / f"photos/c{label}").mkdir(parents=True)
        pixels = np.random.default_rng(label).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"photos/c{label}/0.png")
    (folder / "photos/c0/notes.txt").write_text("x")
    return folder / "photos"


def test_what_is_not_read_stands_on_the_page(audited, folder, photos):
    net = nn.Module()
    net.module = build_model(ModelSpec(name="convnet", width=0.1), 10, 16, (0.5,) * 3, (0.5,) * 3).network
    save_weights(net, folder / "round1.safetensors")
    audited(
        model={"name": "convnet", "width": 0.1},
        images={"path": str(photos), "resolution": 16},
        checkpoints=[{"round": 1, "weights": str(folder / "round1.safetensors")}],
    )
    notes = json.loads((folder / "out/audit.html.provenance.json").read_text())["notes"]
    assert notes[0] == "images: files that are not read: 1 .txt (first: c0/notes.txt)"
    assert notes[-1] == "round1.safetensors: 14 names are read without 'module.'"
    page = (folder / "out/audit.html").read_text()
    assert "1 .txt (first: c0/notes.txt)" in page
    assert "14 names are read without" in page


def test_a_model_of_one_channel_is_audited_on_luminance(audited, folder):
    rows = audited(
        model={"import": "own_net:Net", "options": {"channels": 1}, "channels": 1},
        attacks=[
            {"name": "gia-o", "priors": {"tv": 0.001}, "init": "uniform", "descent": {"iterations": 80, "lr": 0.1}}
        ],
    )
    assert set(rows["model_channels"]) == {1}
    assert rows["psnr"].max() > 20
    spec = ImageSource(dataset="photos10", resolution=16)
    grey, colour = (AuditImages(spec, channels, Config()).images([3]) for channels in (1, 3))
    pillow = Image.fromarray((colour[0] * 255).byte().permute(1, 2, 0).numpy()).convert("L")
    assert torch.equal((grey[0, 0] * 255).round().byte(), torch.from_numpy(np.array(pillow)))


def test_attacks_with_networks_of_colour_images_are_refused_for_one_channel():
    attack = {"name": "gia-l", "generator": {"name": "dcgan", "dataset": {"name": "photos10"}}}
    content = {"model": {"name": "convnet", "channels": 1}, "images": {"dataset": "photos10"}, "attacks": [attack]}
    with pytest.raises(ValueError, match=r"model\.channels is 1, but attack 'GIA-L.*' has a network of colour images"):
        AuditSpec.model_validate(content)


def test_classes_of_one_name_keep_their_labels(folder, monkeypatch):
    info = DATASETS["photos10"]
    images = AuditImages(ImageSource(dataset=info.name, resolution=16), 3, Config())
    before = images.labels(range(20)).tolist()
    monkeypatch.setattr(type(images.dataset), "class_names", ("same",) * 10)
    images = AuditImages(ImageSource(dataset=info.name, resolution=16), 3, Config())
    assert images.labels(range(20)).tolist() == before


def test_a_checkpoint_of_this_package_brings_its_normalisation(folder):
    model = build_model(ModelSpec(name="convnet", width=0.1), 10, 16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_weights(model, folder / "w.safetensors")
    own = ModelSource.model_validate({"name": "convnet", "width": 0.1})
    opened = open_network(own, Checkpoint(round=1, weights=folder / "w.safetensors"), 10, 16, 0)
    assert opened.normalise is not None
    assert opened.normalise.mean == pytest.approx((0.1, 0.2, 0.3))
    assert opened.normalise.std == pytest.approx((0.4, 0.5, 0.6))
    assert opened.notes == ()


def test_torchvision_is_prepared_before_the_users_own_import(folder, monkeypatch):
    (folder / "own_net.py").write_text("import prepared\nfrom torch import nn\n\nnet = nn.Identity\n")
    monkeypatch.delitem(sys.modules, "prepared", raising=False)
    monkeypatch.setattr(source, "prepare_torchvision", lambda: sys.modules.update(prepared=sys))
    with source.importable(folder):
        source.open_network(ModelSource.model_validate({"import": "own_net:net"}), Checkpoint(round=0), 10, 16, 0)
    del sys.modules["prepared"]


def test_pictures_in_class_folders_are_read_beside_a_table_of_something_else(photos):
    (photos / "c1/meta.parquet").write_bytes(b"")
    images = AuditImages(ImageSource(path=photos, resolution=16), 3, Config())
    assert len(images) == 10
    assert images.notes[0] == "images: files that are not read: 1 .parquet, 1 .txt (first: c0/notes.txt)"
