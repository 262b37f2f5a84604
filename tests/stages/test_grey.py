"""Models of one channel, from the images' luminance to metrics and pictures."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from core_cases import run_alone
from PIL import Image
from torch import nn

from gradleak.data.grey import one_channel
from gradleak.data.opening import open_dataset, open_view
from gradleak.data.roles import TuningImages
from gradleak.errors import UserError
from gradleak.metrics.backbone import WEIGHTS
from gradleak.metrics.base import Scorer
from gradleak.models.base import MODELS, build_model, take_channels
from gradleak.models.facts import model_facts
from gradleak.specs import DatasetSpec, ModelSpec
from gradleak.study.cell import Cell

CELL = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {"name": "convnet", "channels": 1, "options": {"channels": 8, "stages": 1, "layers": 1}},
    "attack": {"name": "gia-o", "priors": {"tv": 0.001}, "init": "uniform", "descent": {"iterations": 60, "lr": 0.1}},
    "victims": [3],
}


def test_a_grey_image_is_reconstructed(tmp_path, cache):
    rows = run_alone(Cell.parse(CELL, "here"), cache, tmp_path)
    assert rows["model_channels"].tolist() == [1]
    assert rows["psnr"].item() > 19
    pictures = pd.read_parquet(tmp_path / "images.parquet").iloc[0]
    colour = open_dataset("photos10", 16, {}).images("test", [3])
    truth = np.array(Image.open(io.BytesIO(pictures["truth_png"])))
    photo = Image.fromarray((colour[0] * 255).byte().permute(1, 2, 0).numpy())
    assert (truth == np.array(photo.convert("L"))[:, :, None]).all()
    found = np.array(Image.open(io.BytesIO(pictures["reconstruction_png"])))
    assert (found == found[:, :, :1]).all()
    error = ((truth[:, :, 0] / 255.0 - found[:, :, 0] / 255.0) ** 2).mean()
    assert rows["mse"].item() == pytest.approx(error, rel=0.02)
    pair = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255 for image in (truth, found))
    assert Scorer(cache)(*pair)["lpips"].item() == pytest.approx(rows["lpips"].item(), abs=2e-3)


def test_a_trained_model_of_grey_images(tmp_path, cache):
    training = {"clients": 2, "rounds": 1, "images": 20, "evaluate": 10, "epochs": 1, "batch_size": 10}
    content = {**CELL, "model": {**CELL["model"], "round": 1, "training": training}}
    content["attack"] = {**CELL["attack"], "descent": {"iterations": 2}}
    content["smoothness"] = {"method": "forward", "samples": 2}
    (tmp_path / WEIGHTS).symlink_to(cache.resolve() / WEIGHTS)  # the training is kept in the cache, too
    assert run_alone(Cell.parse(content, "here"), tmp_path, tmp_path)["model_round"].tolist() == [1]


def test_ids_of_colour_cells_do_not_know_of_channels():
    colour = {**CELL, "model": {key: value for key, value in CELL["model"].items() if key != "channels"}}
    models = ({**colour["model"], **more} for more in ({}, {"channels": 3}, {"channels": 1}))
    plain, three, one = (Cell.parse({**colour, "model": model}, "here") for model in models)
    assert plain.id == three.id != one.id
    assert "channels" not in plain.model_dump(mode="json")["model"]
    assert "model_channels" not in plain.factors()


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("resnet152", "vgg19", "densenet53")])
def test_every_model_takes_one_channel(name):
    spec = ModelSpec(name=name, width=0.1, channels=1, init_seed=3)
    model = build_model(spec, 10, 32, (0.5,), (0.25,))
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 10)
    colour = build_model(spec.model_copy(update={"channels": 3}), 10, 32, (0.5,) * 3, (0.25,) * 3)
    first, *rest = dict(model.named_parameters()).items()
    assert first[1].shape[1] == 1
    assert all(torch.equal(value, dict(colour.named_parameters())[key]) for key, value in rest if "bias" not in key)
    facts, other = (model_facts(own, 10, 32) for own in (spec, spec.model_copy(update={"channels": 3})))
    assert other["model_parameters"] - facts["model_parameters"] == 2 * first[1].numel()


def test_a_model_without_such_a_convolution_is_one_line():
    with pytest.raises(UserError, match=r"model 'flat': has no first convolution of three channels"):
        take_channels(nn.Linear(3, 10), 1, "flat")


def test_views_of_grey_images_have_the_same_roles_and_normalisation():
    mapped = DatasetSpec(name="photos10", resolution=16, classes={"rocket": "airplane"}, label_space="cifar10")
    for spec in (DatasetSpec(name="photos10", resolution=16, classes=["rocket"]), mapped):
        colour, grey = open_view(spec, {}), open_view(spec, {}, channels=1)
        assert (grey.mean, grey.std) == (one_channel(colour.mean), one_channel(colour.std))
        assert grey.images("test", []).shape == (0, 1, 16, 16)
        assert grey.labels("test", range(5)).tolist() == colour.labels("test", range(5)).tolist()
        assert TuningImages(grey).size == TuningImages(colour).size


def test_generators_are_refused():
    generator = {"name": "dcgan", "dataset": {"name": "photos10"}}
    content = {**CELL, "attack": {"name": "gia-l", "generator": generator}, "knowledge_level": 3}
    with pytest.raises(UserError, match=r"has a network of colour images, but model\.channels is 1; must be 3"):
        Cell.parse(content, "here")
