"""BigGAN on a small architecture: the package's own images, weights only by a checked file, errors in one line."""

import sys

import pytest
import torch
from auxiliary_cases import SIZE, biggan_config, biggan_network, plain, same_weights, small_architecture
from pydantic import ValidationError
from torch.func import functional_call, vmap

from gradleak.auxiliary.base import TrainContext, draw, parse_auxiliary
from gradleak.auxiliary.biggan import Architecture, BigganGenerator
from gradleak.data.roles import PublicImages
from gradleak.errors import UserError
from gradleak.files import sha256

LABELS = torch.tensor([0, 1, 0])


@pytest.fixture(scope="module")
def network():
    return biggan_network(2)


@pytest.fixture
def file(network, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save(network.state_dict(), path)
    return path


def config(path, **settings):
    given = {"dataset": {"name": "photos10", "resolution": SIZE}, **settings}
    return biggan_config(path, classes=2, **given)


def load(parsed, dataset=None):
    return parsed.train(PublicImages(dataset or plain()), TrainContext())


def latents(count=3):
    return draw(torch.Generator().manual_seed(0), count, 8)


@pytest.mark.parametrize("truncation", [0.25, 0.5, 1.0])
def test_images_are_those_of_the_package(network, file, truncation):
    model = load(config(file, truncation=truncation))
    one_hot = torch.nn.functional.one_hot(LABELS, 2).float()
    with torch.no_grad():
        expected = (network(truncation * latents(), one_hot, truncation) + 1) / 2
        found = model(latents(), LABELS)
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.shape == (3, 3, SIZE, SIZE)
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert found.std() > 0.05
    assert (model.latent_size, model.resolution, model.training) == (8, SIZE, False)


def test_between_two_tabulated_truncations_statistics_are_interpolated(network, file):
    tables = dict(network.named_buffers())
    found = dict(load(config(file, truncation=0.55)).named_buffers())
    name = "generator.layers.0.bn_1.running_means"
    expected = 0.8 * tables[name][2] + 0.2 * tables[name][3]  # 0.55 = 0.8 x 0.5 + 0.2 x 0.75
    assert torch.allclose(found[f"network.{name}"], expected[None], atol=1e-6)


def test_the_label_matters(file):
    model = load(config(file))
    with torch.no_grad():
        assert (model(latents(), LABELS) - model(latents(), 1 - LABELS)).abs().max() > 0.01


def test_weights_are_plain_so_that_every_trial_may_have_its_own(file):
    model = load(config(file))
    assert not [name for name in model.state_dict() if "_orig" in name or name.endswith(("_u", "_v"))]
    random = torch.Generator().manual_seed(1)
    parameters = {
        name: torch.stack([value.detach(), value.detach() + 0.05 * torch.randn(value.shape, generator=random)])
        for name, value in model.named_parameters()
    }
    z, labels = torch.stack([latents(), 2 * latents()]), torch.stack([LABELS, 1 - LABELS])
    together = vmap(lambda *parts: functional_call(model, parts[0], parts[1:]))(parameters, z, labels)
    for trial in range(2):
        own = {name: value[trial] for name, value in parameters.items()}
        alone = functional_call(model, own, (z[trial], labels[trial]))
        assert torch.allclose(together[trial], alone, atol=1e-5)
    assert not torch.allclose(together[1], model(z[1], labels[1]), atol=1e-2)


def test_what_was_loaded_can_be_saved_and_loaded_again(file):
    parsed = config(file)
    model, other = load(parsed), parsed.build(2)
    assert not same_weights(model, other)
    assert same_weights(other, parsed.build(2))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(latents(), LABELS), other(latents(), LABELS))


def test_the_old_file_format_of_the_published_weights_is_read(network, tmp_path):
    path = tmp_path / "old.bin"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    assert load(config(path)) is not None


@pytest.mark.parametrize(
    ("resolution", "millions"),
    [(128, 50.4), (256, 55.9), (512, 56.2)],
)
def test_published_architectures_have_the_published_number_of_parameters(resolution, millions):
    with torch.device("meta"):
        model = BigganGenerator(Architecture.published(resolution), 1.0)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert (model.resolution, model.latent_size, model.num_classes) == (resolution, 128, 1000)


def error(parsed, dataset=None):
    with pytest.raises(UserError) as caught:
        load(parsed, dataset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_missing_or_another_is_one_line(file):
    right = config(file)
    file.write_bytes(file.read_bytes() + b"x")
    assert error(right) == f"biggan: SHA-256 of weights '{file}' is {sha256(file)}, must be {right.sha256}"
    file.unlink()
    assert "are missing; docs/generators.md" in error(right)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda network: [torch.zeros(1)], "are no state dict (a list)"),
        (lambda network: network, "are no state dict"),  # a whole pickled module may run any code: not read
        (lambda network: {"a": torch.zeros(1)}, "weights lack 'embeddings.weight' and "),
        (
            lambda network: network.state_dict() | {"embeddings.weight": torch.zeros(8, 9)},
            "do not fit the architecture",
        ),
    ],
)
def test_content_that_does_not_fit_is_one_line(network, tmp_path, content, message):
    path = tmp_path / "other.bin"
    torch.save(content(network), path)
    assert message in error(config(path))
    path.write_bytes(b"no pickle")
    assert "are no state dict" in error(config(path))


def test_a_data_set_of_other_classes_is_refused(file):
    images = plain()
    other = type(images)(images.pictures, images.answers, classes=3)
    assert "data set 'photos10' has 3 classes, the generator 2" in error(config(file), other)
    with pytest.raises(UserError, match="has 3 classes"):
        config(file).build(3)


def test_a_missing_package_is_one_line_that_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_pretrained_biggan", None)
    assert "install it with `pip install pytorch-pretrained-biggan==0.1.1`" in error(config(file))


def test_there_is_no_generator_without_a_file_and_its_sha256(file):
    for left_out in ("weights", "sha256"):
        content = config(file).model_dump(mode="json")
        del content[left_out]
        with pytest.raises(ValidationError, match="Field required"):
            parse_auxiliary(content)
    assert config(file).id != config(file, sha256="0" * 64).id


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"truncation": 0}, "greater than 0"),
        ({"truncation": 1.1}, "less than or equal to 1"),
        ({"sha256": "abc"}, "sha256"),
        ({"architecture": None}, "resolution is 16; published for 128, 256 or 512"),
        ({"architecture": small_architecture(2) | {"output_dim": 32}}, "output_dim is 32, but the layers make 16"),
        ({"architecture": small_architecture(2) | {"class_embed_dim": 9}}, "must equal z_dim"),
        ({"architecture": small_architecture(2) | {"layers": [[True, 16, 4]]}}, "number 0 goes from width 16 to 4"),
        ({"architecture": small_architecture(2) | {"layers": [[True, 16, 8]]}}, "ends with width 8"),
        ({"dataset": {"name": "photos10", "resolution": 32}}, "dataset.resolution is 32, but architecture"),
    ],
)
def test_bad_settings_are_refused(file, settings, message):
    with pytest.raises(ValidationError, match=message):
        config(file, **settings)
