"""Stage pretrain on photographs: weights, quality and the sheet of samples; a bad file is one line."""

import json

import pytest
import torch
from auxiliary_cases import SIZE, Killed, biggan_config, biggan_file, killing, same_weights
from PIL import Image
from safetensors.torch import load_file, save_file

from gradleak.auxiliary import quality
from gradleak.auxiliary.base import parse_auxiliary
from gradleak.errors import UserError
from gradleak.files import sha256
from gradleak.stages.auxiliaries import auxiliary_loader, load_auxiliary
from gradleak.stages.pretrain import write_auxiliary, write_quality
from gradleak.stages.session import Session
from gradleak.study.config import Config
from gradleak.study.ids import auxiliary_id

DATASET = {"name": "photos10", "resolution": SIZE, "classes": ["chelsea", "coffee"]}
KINDS = {
    "dcgan": {"channels": 4, "latent_size": 6, "steps": 2, "batch_size": 8},
    "rog": {"channels": 4, "blocks": 1, "steps": 2, "batch_size": 8, "space": "autoencoder", "code_channels": 5},
}
NUMBERS = {
    "dcgan": {"nearest_lpips", "nearest_lpips_real", "classes_seen", "classifier_accuracy_real"},
    "rog": {"lpips_decoded", "lpips_enhanced"},
}
NUMBERS["biggan"] = NUMBERS["dcgan"] | {"classifier_accuracy"}


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(quality, "_CLASSIFIER_STEPS", 20)


@pytest.fixture(scope="module")
def config(cache):
    return Config.parse({"device": "cpu", "cache": str(cache), "jobs": {"save_every_s": 0}}, "here")


def auxiliary(name, **settings):
    return parse_auxiliary({"name": name, "dataset": DATASET, **KINDS[name], **settings})


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    found = tmp_path_factory.mktemp("auxiliary")
    for name in KINDS:
        write_auxiliary(
            auxiliary(name), config, found / f"{auxiliary_id(auxiliary(name), config)}.safetensors", Session()
        )
    return found


def path_of(folder, given, config):
    return folder / f"{auxiliary_id(given, config)}.safetensors"


@pytest.mark.parametrize("name", KINDS)
def test_weights_are_loaded_as_they_were_written_and_leave_no_state(folder, config, name):
    given = auxiliary(name)
    model = load_auxiliary(given, config, folder)
    content = load_file(path_of(folder, given, config))
    assert not model.training
    assert content.keys() == model.state_dict().keys()
    assert all(torch.equal(value, content[key]) for key, value in model.state_dict().items())
    facts = json.loads(path_of(folder, given, config).with_suffix(".safetensors.provenance.json").read_text())
    assert facts["auxiliary"]["name"] == name
    assert len(facts["data"]["photos10"]) == 64
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_job_writes_the_same_bytes(folder, config, name, tmp_path):
    given = auxiliary(name)
    out = path_of(tmp_path, given, config)
    with pytest.raises(Killed):
        write_auxiliary(given, config, out, Session(progress=lambda title, total: killing(2 if name == "dcgan" else 3)))
    assert not out.exists()
    assert list(out.with_name(out.name + ".state").glob("*.safetensors"))
    counted = []
    write_auxiliary(given, config, out, Session(progress=lambda title, total: counted.append))
    assert counted[0] > 0
    assert out.read_bytes() == path_of(folder, given, config).read_bytes()
    assert not out.with_name(out.name + ".state").exists()


def check_quality(given, config, folder, out):
    write_quality(given, config, folder, out / "quality.json", out / "sheet.png")
    content = json.loads((out / "quality.json").read_text())
    assert content["auxiliary"] == given.model_dump(mode="json")
    assert set(content["quality"]) == NUMBERS[given.name]
    assert all(0 <= value <= 2 for value in content["quality"].values())
    with Image.open(out / "sheet.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > 12 * SIZE
        assert len(picture.convert("L").getcolors()) > 20
    return content


@pytest.mark.parametrize("name", KINDS)
def test_quality_and_sheet_are_written(folder, config, name, tmp_path):
    content = check_quality(auxiliary(name), config, folder, tmp_path)
    assert 300 < content["public_images"] < 400
    first = (tmp_path / "quality.json").read_bytes(), (tmp_path / "sheet.png").read_bytes()
    check_quality(auxiliary(name), config, folder, tmp_path)
    assert first == ((tmp_path / "quality.json").read_bytes(), (tmp_path / "sheet.png").read_bytes())


def test_a_biggan_goes_through_the_stage_and_is_not_called_trained(config, tmp_path, monkeypatch):
    from gradleak.stages import pretrain

    given = biggan_config(biggan_file(tmp_path, 10), DATASET, 10)
    out = path_of(tmp_path, given, config)
    write_auxiliary(given, config, out, Session())
    assert json.loads(out.with_suffix(".safetensors.provenance.json").read_text())["auxiliary"]["sha256"] == sha256(
        given.weights
    )
    titles = []
    original = pretrain._titled
    monkeypatch.setattr(pretrain, "_titled", lambda picture, lines: titles.append(lines[0]) or original(picture, lines))
    check_quality(given, config, tmp_path, tmp_path)
    assert titles == [f"biggan-photos10-{SIZE}: weights that others published"]
    given.weights.unlink()  # from here on, only what the stage wrote is needed
    assert load_auxiliary(given, config, tmp_path) is not None


def one_line(call, *parts):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_missing_weights_are_one_line(config, tmp_path):
    given = auxiliary("dcgan")
    where = str(path_of(tmp_path, given, config))
    parts = (where, "auxiliary model 'dcgan-photos10-16' is missing; run `gradleak pretrain`")
    one_line(lambda: load_auxiliary(given, config, tmp_path), *parts)
    one_line(lambda: write_quality(given, config, tmp_path, tmp_path / "a.json", tmp_path / "a.png"), *parts)
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other", "lacking"])
def test_damaged_weights_are_one_line(folder, config, tmp_path, damage):
    given = auxiliary("dcgan")
    path, right = path_of(tmp_path, given, config), path_of(folder, given, config)
    if damage == "cut":
        path.write_bytes(right.read_bytes()[:1000])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("no weights at all, but long enough for a header")
    elif damage == "other":
        path.write_bytes(path_of(folder, auxiliary("rog"), config).read_bytes())
    else:
        content = load_file(right)
        del content["layers.0.weight"]
        save_file(content, path)
    one_line(lambda: load_auxiliary(given, config, tmp_path), str(path), "not the weights of 'dcgan-photos10-16'")


def test_a_loader_reads_every_model_once(folder, config, monkeypatch):
    load = auxiliary_loader(config, folder)
    first = load(auxiliary("dcgan"))
    assert load(auxiliary("dcgan")) is first
    assert not same_weights(load(auxiliary("rog")), first)
