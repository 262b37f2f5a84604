"""Theorem 4.3: the Jacobian against autograd, masks by hand, exact ones below p = B D, none above."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradleak.theory import theorem43
from gradleak.theory.convolution import random_map
from gradleak.theory.mask import find_mask, relative_difference


@pytest.mark.parametrize(("batch", "side", "channels"), [(1, 8, (2, 3)), (3, 6, (2, 2)), (2, 7, (1, 2))])
def test_jacobian_is_that_of_autograd(batch: int, side: int, channels: tuple[int, int]) -> None:
    phi = random_map(batch, side, channels, seed=1)
    x = torch.rand(phi.inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.autograd.functional.jacobian(phi, x)
    assert expected.shape == (phi.p, batch * side**2)
    torch.testing.assert_close(phi.jacobian(x), expected, rtol=1e-10, atol=1e-14)


class Circle:
    """Phi(x) = |x|^2 in the plane: p = 1 < 2, the level sets are circles."""

    def __call__(self, x: Tensor) -> Tensor:
        return (x @ x).view(1)

    def jacobian(self, x: Tensor) -> Tensor:
        return 2 * x.view(1, -1)


def test_mask_by_hand() -> None:
    x, wish = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.7, 1.0], dtype=torch.float64)
    mask = find_mask(Circle(), x, wish, rms=1 / 2**0.5)
    assert mask.rank == 1
    # The null space of (2, 0) is the second axis: |(1, 1)|^2 = 2 is off by 1.
    assert mask.first_order == pytest.approx(1)
    # On the circle, at distance 1 from (1, 0): 60 degrees on.
    torch.testing.assert_close(x + mask.delta, torch.tensor([0.5, 3**0.5 / 2], dtype=torch.float64))
    assert mask.difference < 1e-14


class Turned:
    """An invertible linear map: p = B D."""

    matrix = torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64)

    def __call__(self, x: Tensor) -> Tensor:
        return self.matrix @ x

    def jacobian(self, x: Tensor) -> Tensor:
        return self.matrix


def test_no_mask_for_an_invertible_map() -> None:
    x = torch.tensor([1.0, 1.0], dtype=torch.float64)
    mask = find_mask(Turned(), x, torch.tensor([0.3, 0.1], dtype=torch.float64), rms=0.1)
    least = torch.linalg.svdvals(Turned.matrix)[-1]
    assert mask.rank == 2
    assert mask.difference == pytest.approx(float(least * 0.1 * 2**0.5 / Turned()(x).norm()), rel=1e-6)
    assert float(mask.delta.norm()) == pytest.approx(0.1 * 2**0.5)


def test_masks_exist_below_the_threshold_and_not_above() -> None:
    frame = theorem43.sweep()
    assert frame["rms"].to_numpy() == pytest.approx(0.1)
    wide = frame[frame["series"] != "narrow"]
    below = wide["parameters"] < wide["inputs"]
    assert below.sum() >= 4
    assert wide[below]["difference"].max() < 1e-12
    assert wide[below]["first_order"].min() > 1e-4
    assert (wide[~below]["rank"] == wide[~below]["inputs"]).all()
    assert wide[~below]["difference"].min() > 1e-7
    narrow = frame[frame["series"] == "narrow"]
    assert (narrow["rank"] < narrow["inputs"]).all()
    assert narrow["ratio"].max() > 1
    assert narrow["difference"].max() < 1e-12


def test_order_of_the_difference_by_direction() -> None:
    frame = theorem43.sizes().pivot(index="rms", columns="direction", values="difference")
    first, second = frame.index[0], frame.index[1]
    growth = second / first
    for direction, order in (("random", 1), ("image", 1), ("null space", 2)):
        assert frame[direction][second] / frame[direction][first] == pytest.approx(growth**order, rel=0.02)
    assert frame["corrected"].max() < 1e-12


def test_pairs_have_one_gradient_and_differ() -> None:
    wish, pairs = theorem43.pairs()
    assert [pair.ratio < 1 for pair in pairs] == [True] * len(pairs)
    for pair, channels in zip(pairs, theorem43.PAIRS, strict=True):
        phi = random_map(1, theorem43.PAIR_SIDE, channels, seed=0)
        difference = relative_difference(phi, pair.truth.flatten())
        assert difference((pair.other - pair.truth).flatten()) < 1e-12
        assert pair.rms > 0.05
    # The fewer parameters, the nearer to the photograph that the mask leads to.
    distances = [float((pair.other - wish).norm()) for pair in pairs]
    assert distances == sorted(distances)


def test_exceptions() -> None:
    frame = theorem43.exceptions().set_index("case")
    for case in ("exchange", "brightness"):
        assert frame.loc[case, "parameters"] >= frame.loc[case, "inputs"]
        assert frame.loc[case, "difference"] < 1e-12
        assert frame.loc[case, "rms"] > 0.1
    assert frame.loc["singular", "parameters"] < frame.loc["singular", "inputs"]
    assert frame.loc["singular", "difference"] == 1


def test_exchange_needs_one_label() -> None:
    phi = random_map(2, 8, (4, 6), seed=0)
    x = torch.rand(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    swap = (x.flip(0) - x).flatten()
    assert relative_difference(phi, x.flatten())(swap) > 1e-3
    one = replace(phi, labels=torch.ones(2, dtype=torch.float64))
    assert relative_difference(one, x.flatten())(swap) < 1e-12
