import pytest
import torch

from gradleak.data.base import open_dataset
from gradleak.metrics.base import METRICS, Metric, Scorer, score


def test_metrics_are_registered_with_their_direction():
    assert {name: METRICS[name].better for name in METRICS} == {
        "lpips": "lower",
        "mse": "lower",
        "psnr": "higher",
        "ssim": "higher",
    }


def test_score_returns_one_value_per_image_and_metric(cache):
    truth = open_dataset("photos10", 32, {}).images("test", range(3))
    values = score(truth, truth.flip(0), cache)
    assert list(values) == METRICS.names()
    for value in values.values():
        assert value.shape == (3,)
        assert value.dtype == torch.float64
    again = Scorer(cache)(truth, truth.flip(0))
    assert all(torch.equal(values[name], again[name]) for name in values)


def test_a_registered_metric_becomes_a_column(cache, monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", {**METRICS._entries})
    METRICS.register("mae")(Metric("mae", "MAE", "lower", lambda cache: lambda a, b: (a - b).abs().mean((1, 2, 3))))
    images = torch.zeros(2, 3, 32, 32)
    assert score(images, images + 0.5, cache)["mae"].tolist() == [0.5, 0.5]


def test_values_that_are_not_finite_are_refused(cache):
    images = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match="reconstruction: values must be in"):
        score(images, images / 0, cache)
