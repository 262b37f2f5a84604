"""Each defense: its identity limit, its norm, support or mean, coded sizes by hand, and what is seeded."""

import math

import pytest
import torch
from core_cases import random

from gradleak.errors import UserError
from gradleak.post_processing.base import DEFENSES, entropy_bits
from gradleak.post_processing.vectors import flat, norm, shaped

SHAPES = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "fc.weight": (10, 8)}
NUMBERS = 8 * 27 + 8 + 80


def update_of(seed=0, dtype=torch.float32):
    """Heavy-tailed numbers, as gradients are."""
    return {
        name: torch.randn(*shape, generator=random(seed + i)).pow(3).to(dtype)
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def of(*numbers):
    return {"a": torch.tensor(numbers, dtype=torch.float64)}


def apply(name, update, seed=0, **settings):
    return DEFENSES[name](**settings).apply(update, random(seed))


def close(a, b, **tolerance):
    return all(torch.allclose(a[name], b[name], **tolerance) for name in b)


#: Settings at which a defense does nothing, and how far it may be from that.
IDENTITY = {
    "qsgd": ({"bits": 16, "bucket": 16, "norm": "max"}, 2e-5 * 60),
    "top_k": ({"ratio": 0.0}, 0.0),
    "clip": ({"bound": 1e6}, 0.0),
    "noise": ({"multiplier": 0.0}, 0.0),
}
SOME = {
    "qsgd": {"bits": 2},
    "signsgd": {},
    "top_k": {"ratio": 0.7},
    "clip": {"bound": 0.3},
    "noise": {"multiplier": 0.2},
}


def test_these_tests_know_every_defense():
    assert set(SOME) == set(DEFENSES)


@pytest.mark.parametrize("name", list(IDENTITY))
def test_a_defense_of_no_strength_does_nothing(name):
    settings, tolerance = IDENTITY[name]
    update = update_of()
    assert close(apply(name, update, **settings).update, update, rtol=0, atol=tolerance)
    assert not close(apply(name, update, **SOME[name]).update, update, rtol=0, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(SOME))
def test_names_order_shapes_and_dtypes_stay_and_the_input_is_not_touched(name, dtype):
    update = update_of(dtype=dtype)
    found = apply(name, update, **SOME[name]).update
    assert list(found) == list(SHAPES)
    assert {key: tuple(value.shape) for key, value in found.items()} == SHAPES
    assert all(value.dtype == dtype for value in found.values())
    assert all(torch.equal(value, update_of(dtype=dtype)[key]) for key, value in update.items())


@pytest.mark.parametrize("name", list(SOME))
def test_the_generator_decides(name):
    first, again, other = (flat(apply(name, update_of(), seed, **SOME[name]).update) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in ("signsgd", "top_k", "clip"))


@pytest.mark.parametrize("name", list(SOME))
def test_an_update_of_zeros_stays_finite(name):
    zeros = {key: torch.zeros_like(value) for key, value in update_of().items()}
    found = flat(apply(name, zeros, **SOME[name]).update)
    assert found.isfinite().all()
    assert name == "noise" or not found.any()


def test_vectors_go_back_to_what_they_were():
    update = update_of()
    assert all(torch.equal(value, update[name]) for name, value in shaped(flat(update), update).items())
    assert norm(of(3.0, 4.0)).item() == pytest.approx(5)


@pytest.mark.parametrize("scale", ["l2", "max"])
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("bucket", [7, 64, None])
def test_qsgd_is_unbiased_with_the_variance_of_random_rounding(bits, bucket, scale):
    draws, update = 1000, update_of(dtype=torch.float64)
    vector, steps, generator = flat(update), 2**bits - 1, random(5)
    qsgd = DEFENSES["qsgd"](bits=bits, bucket=bucket, norm=scale)
    found = torch.stack([flat(qsgd.apply(update, generator).update) for _ in range(draws)])
    size = bucket or NUMBERS
    parts = vector.split(size)
    scales = torch.cat([(part.norm() if scale == "l2" else part.abs().max()).expand(len(part)) for part in parts])
    unit = scales / steps
    fraction = (vector.abs() / unit) % 1
    deviation = unit * (fraction * (1 - fraction)).sqrt()
    # Five deviations of a mean; ten draws more for what is rarely not zero (Bernstein's inequality).
    allowed = 5 * deviation / math.sqrt(draws) + 10 * unit / draws
    assert ((found.mean(0) - vector).abs() <= allowed).all()
    assert found.var(0).sum() == pytest.approx(deviation.square().sum().item(), rel=0.15)
    # What comes out is a whole number of levels, not beyond the scale, and has the sign of what went in.
    levels = found / unit
    assert (levels - levels.round()).abs().max() < 1e-9
    assert levels.abs().max() <= steps + 1e-9
    assert (found * vector >= 0).all()


def test_qsgd_of_whole_levels_is_exact_and_its_size_is_that_of_its_levels():
    # Norm 5, one bucket, 5 steps are no power of two: 3 steps of 5/3 each; 5 and 0 are whole levels.
    sent = apply("qsgd", of(5.0, 0.0, 0.0, 0.0), bits=2, bucket=None)
    assert close(sent.update, of(5.0, 0.0, 0.0, 0.0))
    # Levels 3, 0, 0, 0: 1 log2(4) + 3 log2(4/3) = 3.245, rounded up, and one scale.
    assert sent.bits == 4 + 32
    # Largest magnitude 1 in each of two buckets, one step: levels 1, 0, -1, 1; 2 log2(2) + 2 log2(4) = 6 bits.
    sent = apply("qsgd", of(1.0, 0.0, -1.0, 1.0), bits=1, bucket=2, norm="max")
    assert close(sent.update, of(1.0, 0.0, -1.0, 1.0))
    assert sent.bits == 6 + 2 * 32


def test_a_bucket_has_a_scale_of_its_own():
    update = of(1.0, 1.0, 1000.0, 1000.0)
    assert close(apply("qsgd", update, bits=1, bucket=2, norm="max").update, update)
    assert not close(apply("qsgd", update, bits=1, bucket=4, norm="max").update, update)


def test_signs_have_the_mean_magnitude_of_their_tensor():
    update = {"a": torch.tensor([3.0, -1.0, 0.0, 4.0]), "b": torch.tensor([-0.5, -1.5])}
    sent = apply("signsgd", update)
    assert sent.update["a"].tolist() == [2.0, -2.0, 0.0, 2.0]
    assert sent.update["b"].tolist() == [-1.0, -1.0]
    # Symbols + - 0 + - -: 2 log2(3) + 3 log2(2) + 1 log2(6) = 8.755, rounded up, and two scales.
    assert sent.bits == 9 + 2 * 32
    plain = apply("signsgd", update, scale=1)
    assert plain.update["a"].tolist() == [1.0, -1.0, 0.0, 1.0]
    assert plain.bits == 9


@pytest.mark.parametrize("ratio", [0.6, 0.7, 0.8, 0.9, 0.95])
def test_top_k_keeps_the_largest_of_the_whole_update(ratio):
    update = update_of()
    before, after = flat(update), flat(apply("top_k", update, ratio=ratio).update)
    kept = after != 0
    assert kept.sum() == NUMBERS - round(ratio * NUMBERS)
    assert torch.equal(after[kept], before[kept])
    assert before[kept].abs().min() > before[~kept].abs().max()
    assert after.norm() <= before.norm()


def test_top_k_of_equal_numbers_keeps_the_first_and_never_nothing():
    sent = apply("top_k", of(1.0, -2.0, 2.0, 2.0, -2.0, 0.0), ratio=0.5)
    assert sent.update["a"].tolist() == [0.0, -2.0, 2.0, 2.0, 0.0, 0.0]
    # The mask 0 1 1 1 0 0 is 6 bits; three values.
    assert sent.bits == 6 + 3 * 32
    assert apply("top_k", of(1.0, -3.0), ratio=0.99).update["a"].tolist() == [0.0, -3.0]


@pytest.mark.parametrize("bound", [0.01, 0.3, 5.0])
def test_clipping_bounds_the_norm_of_the_whole_update_and_keeps_its_direction(bound):
    update = update_of()
    before, after = flat(update), flat(apply("clip", update, bound=bound).update)
    assert after.norm() == pytest.approx(bound, rel=1e-5)
    assert torch.nn.functional.cosine_similarity(before, after, dim=0) == pytest.approx(1, abs=1e-5)
    assert max(value.norm() for value in update.values()) > 5


def test_an_update_inside_the_bound_is_left_as_it_is():
    update = of(3.0, -4.0)
    assert torch.equal(apply("clip", update, bound=5.1).update["a"], update["a"])
    assert close(apply("clip", update, bound=2.5).update, of(1.5, -2.0))


def test_noise_is_gaussian_with_the_stated_deviation_and_independent():
    zeros = {"a": torch.zeros(200, 300), "b": torch.zeros(20000)}
    found = apply("noise", zeros, multiplier=0.5, scale=0.2).update
    drawn = flat(found) / 0.1
    assert drawn.mean().abs() < 5 / math.sqrt(80000)
    assert drawn.var() == pytest.approx(1, abs=5 * math.sqrt(2 / 80000))
    assert drawn.pow(4).mean() == pytest.approx(3, abs=5 * math.sqrt(96 / 80000))
    assert (drawn[:20000] * drawn[-20000:]).mean().abs() < 5 / math.sqrt(20000)


@pytest.mark.parametrize("name", ["clip", "noise"])
def test_numbers_that_are_not_coded_take_32_bits(name):
    assert apply(name, update_of(), **SOME[name]).bits == 32 * NUMBERS


@pytest.mark.parametrize("name", ["qsgd", "signsgd", "top_k"])
def test_quantized_and_sparse_updates_take_fewer(name):
    assert apply(name, update_of(), **SOME[name]).bits < 16 * NUMBERS


def test_entropy_of_symbols():
    assert entropy_bits(torch.zeros(1000, dtype=torch.int32)) == 0
    assert entropy_bits(torch.arange(16)) == 16 * 4
    assert entropy_bits(torch.tensor([[0, 1], [0, 1]])) == 4
    # 1 of 1000: log2(1000) + 999 log2(1000/999) = 11.41.
    assert entropy_bits(torch.arange(1000) == 0) == 12


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("qsgd", {"bits": 0}),
        ("qsgd", {"bits": 17}),
        ("qsgd", {"bucket": 0}),
        ("signsgd", {"scale": 0}),
        ("top_k", {"ratio": 1.0}),
        ("top_k", {"ratio": -0.1}),
        ("clip", {"bound": 0}),
        ("noise", {"multiplier": -1}),
        ("noise", {"scale": float("nan")}),
        ("clip", {"bounds": 1}),
    ],
)
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        DEFENSES[name](**settings)


def test_an_unknown_defense_lists_the_known_ones():
    with pytest.raises(UserError, match=r"^unknown defense 'dropout'; known: clip, noise, qsgd, signsgd, top_k$"):
        DEFENSES["dropout"]
