"""A model of odd geometries, a distance that every parameter counts in, and the choices of the engine forced."""

import torch
from core_cases import distance
from reference_matcher import ReferenceMatcher
from torch import nn

from gradleak.engine import gram, per_trial
from gradleak.engine.layers import TappedLinear

EXACT = 1e-10
WAYS = ("loop", "product", "groups")


class Odd(nn.Module):
    """Strides, dilations, groups, uneven kernels and wide paddings that no registered model combines; no kinks."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            convolutions = [
                nn.Conv2d(3, 6, (3, 5), padding=(1, 2)),  # its transpose is computed by blocks
                nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2, bias=False),
                nn.Conv2d(6, 8, 1, stride=(2, 1)),  # sampled
                nn.Conv2d(8, 10, 1),  # plain
                nn.Conv2d(10, 12, (3, 2), stride=(2, 3), padding=(1, 0), dilation=(1, 2)),
                nn.Conv2d(12, 8, 2, padding=2),  # padded by more than its kernel reaches
                nn.Conv2d(8, 8, 1, stride=2, padding=1, groups=4),
                nn.Conv2d(8, 24, (2, 3), stride=2, bias=False),
            ]
            self.features = nn.Sequential(*[part for each in convolutions for part in (each, nn.Tanh())])
            self.fc = nn.Linear(96, 10, bias=False)
        self.double().eval()
        for layer in convolutions:
            layer.weight.data *= 2  # PyTorch's default weights let the signal vanish

    def forward(self, images):
        return self.fc(self.features(images).flatten(1))


def by_parameter(inner, norm2, target_norm2):
    """The sum of every parameter's cosine distance: none is too small to show."""
    return (1 - inner / (norm2 * target_norm2).clamp_min(1e-60).sqrt()).sum(1)


def force_way(monkeypatch, way):
    monkeypatch.setitem(per_trial.WAYS, "cpu", [per_trial.Row(way, plain=way == "product")])


def force_strategy(monkeypatch, implicit):
    """The implicit strategy is for ungrouped convolutions only."""
    monkeypatch.setattr(gram, "pays", lambda x, y, weight, args, trials: implicit and args.groups == 1)
    monkeypatch.setattr(TappedLinear, "_implicit", implicit)


def assert_same(found, expected, tolerance=EXACT):
    assert distance(found.objective[:, None], expected.objective[:, None]) < tolerance
    assert torch.allclose(found.prior, expected.prior, rtol=tolerance, atol=0)
    assert distance(found.gradient, expected.gradient) < tolerance


def reference_of(problem, objective, priors, *others):
    return ReferenceMatcher(problem.model, problem.targets, objective, *others)(problem.candidates, priors)
