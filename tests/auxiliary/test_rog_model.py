"""ROG's space and enhancement: interpolation as PyTorch's, an identity at the start, and both networks learn."""

import pytest
import torch
import torch.nn.functional as F
from auxiliary_cases import SIZE, Killed, blocks, kept, killing, same_weights
from pydantic import ValidationError

from gradleak.auxiliary.base import TrainContext, parse_auxiliary
from gradleak.auxiliary.rog import Bicubic
from gradleak.data.roles import PublicImages, TuningImages

DATASET = blocks()
PUBLIC, TUNING = PublicImages(DATASET), TuningImages(DATASET)
LEARNED = {"space": "autoencoder", "code_channels": 5}


def config(**settings):
    given = {"channels": 8, "blocks": 1, "steps": 3, "batch_size": 8, **settings}
    return parse_auxiliary({"name": "rog", "dataset": {"name": "photos10", "resolution": SIZE}, **given})


def train(parsed, context=None):
    return parsed.train(PUBLIC, context or TrainContext())


def error(parsed, model, enhanced=True):
    """Mean absolute error of held-out images that were decoded from their codes."""
    images = TUNING.images(range(TUNING.size))
    with torch.no_grad():
        found = model.decode(model.encode(images)).clamp(0, 1)
        return float(((model.enhance(found) if enhanced else found) - images).abs().mean())


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 4])
def test_bicubic_is_pytorchs_interpolation(factor):
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    size = (round(SIZE * factor),) * 2
    expected = F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=factor < 1)
    assert torch.allclose(Bicubic(SIZE, factor)(images), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("space", [{}, LEARNED])
def test_codes_and_images_have_the_announced_shapes(space, factor):
    model = config(**space, factor=factor).build(2)
    images = TUNING.images([0, 1])
    codes = model.encode(images)
    assert tuple(codes.shape[1:]) == model.code_shape == (5 if space else 3, SIZE // factor, SIZE // factor)
    assert model.decode(codes).shape == images.shape
    assert codes.abs().max() < 1.3
    fine = model.enhance(5 * images - 2)
    assert fine.min() >= 0
    assert fine.max() <= 1


def test_the_enhancement_starts_as_the_identity():
    model = config().build(2)
    images = TUNING.images([0, 1])
    assert torch.equal(model.enhance(images), images)


def test_the_enhancement_lowers_the_error_on_held_out_images():
    parsed = config(channels=16, steps=150, noise=0.02, lr=3e-3)
    start, end = (error(parsed, model) for model in (parsed.build(2), train(parsed)))
    assert start > 0.05
    assert end < 0.95 * start  # measured: 0.91


def test_the_autoencoder_learns_to_reconstruct():
    parsed = config(**LEARNED, steps=100, lr=5e-3)
    start, end = (error(parsed, model, enhanced=False) for model in (parsed.build(2), train(parsed)))
    assert end < 0.75 * start  # measured: 0.61


def test_the_noise_on_codes_is_at_most_what_is_configured(monkeypatch):
    from gradleak.auxiliary.rog import RogModel

    levels = []
    decode = RogModel.decode

    def watch(self, codes):
        clean = self.encode(images_now[-1])
        levels.extend((codes - clean).flatten(1).std(dim=1).tolist())
        return decode(self, codes)

    images_now = []
    original = PublicImages.images

    def remember(self, indices):
        images_now.append(original(self, indices))
        return images_now[-1]

    monkeypatch.setattr(RogModel, "decode", watch)
    monkeypatch.setattr(PublicImages, "images", remember)
    train(config(steps=8, noise=0.2, batch_size=16))
    assert len(levels) == 8 * 16
    assert 0.17 < max(levels) < 0.2 * 1.2
    assert min(levels) < 0.03
    assert sum(levels) / len(levels) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("space", [{}, LEARNED])
def test_a_training_repeats_exactly_and_resumes_where_it_was_killed(space, tmp_path):
    parsed = config(**space)
    whole = train(parsed)
    torch.rand(3)
    assert same_weights(whole, train(parsed))
    assert not same_weights(whole, train(config(**space, seed=1)))
    for killed_after in (2, 5) if space else (2,):  # in the first stage, in the second
        with pytest.raises(Killed):
            train(parsed, kept(tmp_path / str(killed_after), killing(killed_after)))
        counted = []
        resumed = train(parsed, kept(tmp_path / str(killed_after), counted.append))
        assert sum(counted) == parsed.total_steps == (6 if space else 3)
        assert max(counted) == (1 if killed_after == 2 else 3)
        assert same_weights(whole, resumed)


def test_samples_show_image_decoded_and_enhanced_in_turn():
    parsed = config()
    shown = parsed.samples(parsed.build(2), PUBLIC, 7)
    assert shown.captions == ["image", "decoded", "enhanced"] * 3
    assert torch.equal(shown.images[3], PUBLIC.images([1])[0])
    assert torch.equal(shown.images[4], shown.images[5])  # untrained: the identity
    assert not torch.equal(shown.images[3], shown.images[4])


def test_quality_judges_held_out_images():
    def distance(truth, found):
        asked.append(truth)
        return (truth - found).abs().mean(dim=(1, 2, 3))

    asked = []
    parsed = config(channels=16, steps=150, noise=0.02, lr=3e-3)
    quality = parsed.quality(train(parsed), PUBLIC, TUNING, distance)
    assert quality["lpips_enhanced"] < quality["lpips_decoded"]
    assert all(torch.equal(images, TUNING.images(range(TUNING.size))) for images in asked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": {"name": "photos10", "resolution": 18}, "factor": 4}, "18 is not a multiple of factor 4"),
        ({"code_channels": 4}, "code_channels must be 3"),
        ({"factor": 3}, "factor"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        config(**settings)
