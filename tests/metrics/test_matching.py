import itertools

import pytest
import torch

from gradleak.metrics.matching import match


def test_recovers_a_known_permutation():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(12, 3, 8, 8, generator=generator)
    order = torch.randperm(12, generator=generator)
    reconstructed = truth[order] * 0.9 + 0.05
    permutation = match(truth, reconstructed)
    assert permutation.dtype == torch.int64
    assert torch.equal(order[permutation], torch.arange(12))
    assert (reconstructed[permutation] - truth).abs().max() < 0.06


def test_minimises_the_total_over_all_assignments():
    generator = torch.Generator().manual_seed(1)
    truth, found = (torch.rand(5, 3, 4, 4, generator=generator) for _ in range(2))

    def total(order):
        return (truth - found[list(order)]).square().sum().item()

    best = min(itertools.permutations(range(5)), key=total)
    assert tuple(match(truth, found).tolist()) == best


def test_one_image_and_bad_shapes():
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    assert match(image, image).tolist() == [0]
    with pytest.raises(ValueError, match="allowed: both"):
        match(image, image.repeat(2, 1, 1, 1))
