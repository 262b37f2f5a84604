"""The parts of IGSA: draws in the ball, layers and their weights, the estimate, settings."""

import math

import pytest
import torch
from core_cases import model_of

from gradleak.errors import UserError
from gradleak.smoothness import estimate as sampling
from gradleak.smoothness.estimate import Ball, estimate_of
from gradleak.smoothness.problem import layer_weights, layers_of
from gradleak.smoothness.spec import IgsaSettings


def test_weights_of_the_layers_in_both_orders():
    assert layer_weights(4, "backward").tolist() == pytest.approx([2, 1 + 1 / 2, 1 + 1 / 3, 1 + 1 / 4])
    assert layer_weights(4, "forward").tolist() == pytest.approx([1 + 1 / 4, 1 + 1 / 3, 1 + 1 / 2, 2])


def test_a_layer_is_a_module_with_its_own_parameters():
    resnet = model_of("resnet18", width=0.0625)
    convnet = model_of("convnet", channels=4, stages=2, layers=1)
    assert layers_of(convnet) == [
        ["network.features.0.weight", "network.features.0.bias"],
        ["network.features.3.weight", "network.features.3.bias"],
        ["network.fc.weight", "network.fc.bias"],
    ]
    names = [name for layer in layers_of(resnet) for name in layer]
    assert names == [name for name, _ in resnet.named_parameters()]


def test_points_fill_the_ball_and_directions_lie_on_the_sphere():
    shape, radius = torch.Size([1, 3, 1, 1]), 0.5
    ball = Ball(shape, radius, seed=0)
    points, count = ball.points(4000).flatten(1), 4000
    lengths = points.norm(dim=1)
    assert (lengths <= radius).all()
    # Uniform in volume: (|D| / r)^d is uniform on [0, 1]; E|D| = r d / (d + 1).
    volume = (lengths / radius).pow(3).sort().values
    steps = torch.arange(1, count + 1, dtype=torch.float64) / count
    assert (volume - steps).abs().max() < 1.63 / math.sqrt(count)  # Kolmogorov-Smirnov at 1 %
    assert ball.mean_length == pytest.approx(radius * 3 / 4)
    assert lengths.mean().item() == pytest.approx(ball.mean_length, rel=0.02)
    assert points.mean(0).abs().max() < 0.02
    assert torch.allclose(ball.directions(50).flatten(1).norm(dim=1), torch.ones(50, dtype=torch.float64))
    # The k-th draw does not depend on how many are asked for at once.
    whole, parts = Ball(shape, radius, seed=1), Ball(shape, radius, seed=1)
    assert torch.equal(whole.points(9), torch.cat([parts.points(2), parts.points(7)]))


def test_igsa_that_is_no_number_is_an_error():
    with pytest.raises(UserError, match="does not change"):
        estimate_of(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(UserError, match="not finite"):
        estimate_of(torch.tensor([1.0, math.nan], dtype=torch.float64))
    wide = estimate_of(torch.tensor([0.1, 5.0], dtype=torch.float64))
    assert wide.high == math.inf
    assert 0 < wide.low < wide.igsa


def test_settings_are_checked():
    for bad in ({"samples": 1}, {"radius": 0}, {"order": "up"}, {"relative_error": 1}, {"K": 3}, {"precision": "half"}):
        with pytest.raises(ValueError, match="validation error"):
            IgsaSettings(**bad)
    assert IgsaSettings().samples == 10_000
    assert IgsaSettings().radius == 1e-3
    assert sampling._LOOK_FIRST >= 100
