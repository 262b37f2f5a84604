import pytest
import torch

from gradleak.data.opening import open_dataset
from gradleak.metrics.base import METRICS, Column, Metric, Scorer, columns, one_column, score

WHOLE = {"lpips": "lower", "mse": "lower", "psnr": "higher", "ssim": "higher"}


def test_columns_are_registered_with_their_direction():
    found = columns()
    assert {name: column.better for name, column in found.items() if column.of == "image"} == WHOLE
    regions = {name for name, column in found.items() if column.of == "region"}
    assert regions == {"lpips_detail", "lpips_background", "hf_detail", "hf_background"}
    assert found["detail"] == Column("Detail", "neither", "truth")


def test_scorer_returns_one_value_per_image_and_column(cache):
    truth = open_dataset("photos10", 32, {}).images("test", range(3))
    values = Scorer(cache)(truth, truth.flip(0))
    assert list(values) == list(columns())
    for value in values.values():
        assert value.shape == (3,)
        assert value.dtype == torch.float64
    again = score(truth, truth.flip(0), cache)
    assert list(again) == [name for name in values if name in WHOLE]
    assert all(torch.equal(values[name], again[name]) for name in again)


def test_a_registered_metric_becomes_a_column(cache, monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", {**METRICS._entries})
    METRICS.register("mae")(one_column("mae", "MAE", "lower", lambda cache: lambda a, b: (a - b).abs().mean((1, 2, 3))))
    images = torch.zeros(2, 3, 32, 32)
    assert score(images, images + 0.5, cache)["mae"].tolist() == [0.5, 0.5]


def test_two_metrics_must_not_have_one_column(monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", {**METRICS._entries})
    METRICS.register("other")(Metric({"mse": Column("MSE", "lower")}, lambda cache: lambda a, b: {}))
    with pytest.raises(ValueError, match="'other': another metric has the column 'mse'"):
        columns()


def test_values_that_are_not_finite_are_refused(cache):
    images = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match="reconstruction: values must be in"):
        score(images, images / 0, cache)
