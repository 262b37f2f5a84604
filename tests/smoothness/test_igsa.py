"""Both IGSA estimators against an obviously correct loop, closed forms, scaling laws, and the interval's coverage."""

import math

import pytest
import torch
import torch.nn.functional as F
from core_cases import images_of, labels_of, model_of
from torch import nn

from gradleak.errors import UserError
from gradleak.smoothness.estimate import Ball
from gradleak.smoothness.igsa import forward_igsa, igsa
from gradleak.smoothness.problem import layers_of
from gradleak.smoothness.spec import ForwardSettings, IgsaSettings

EXACT = 1e-9
CONVNET = {"channels": 4, "stages": 2, "layers": 1}
MODELS = {
    "convnet": lambda: model_of("convnet", **CONVNET),
    "convnet-norm-sigmoid": lambda: model_of("convnet", **CONVNET, norm=True, activation="sigmoid"),
    "resnet18": lambda: model_of("resnet18", width=0.0625),
}


@pytest.fixture(scope="module")
def models():
    return {name: make() for name, make in MODELS.items()}


def smooth(model):
    """The same network without kinks, changed in place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Softplus())
    return model


def slow(model, images, labels, points, order):
    """Eq. 10 as it reads, one point after the other with plain autograd: its norms, and IGSA."""

    def gradient(x):
        loss = F.cross_entropy(model(x), labels)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        return dict(zip((name for name, _ in model.named_parameters()), grads, strict=True))

    layers = layers_of(model)
    count = len(layers)
    here, norms = gradient(images), []
    for point in points:
        there = gradient(images + point)
        total = 0.0
        for index, names in enumerate(layers):
            depth = index + 1 if order == "backward" else count - index
            change = torch.cat([(here[name] - there[name]).flatten() for name in names])
            total += (1 + 1 / depth) * change.norm().item()
        norms.append(total / count)
    return norms, len(norms) / sum(norms)


@pytest.mark.parametrize("order", ["backward", "forward"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("name", list(MODELS))
def test_igsa_agrees_with_a_loop_over_the_same_points(models, name, samples, order):
    images, labels = images_of(samples), labels_of(samples)
    points = Ball(images.shape, 1e-3, seed=5).points(7)
    norms, expected = slow(models[name], images, labels, points, order)
    found = igsa(models[name], images, labels, IgsaSettings(samples=7, seed=5, order=order))
    assert found.igsa == pytest.approx(expected, rel=EXACT)
    mean = sum(norms) / 7
    sd = math.sqrt(sum((norm - mean) ** 2 for norm in norms) / 6)
    assert found.standard_error == pytest.approx(sd / math.sqrt(7) / mean**2, rel=1e-6)
    assert found.relative_error == pytest.approx(found.standard_error / found.igsa)
    assert found.samples == 7


@pytest.mark.parametrize("order", ["backward", "forward"])
@pytest.mark.parametrize("name", list(MODELS))
def test_forward_agrees_with_tiny_differences_along_the_same_directions(models, name, order):
    images, labels, tiny = images_of(2), labels_of(2), 1e-7
    ball = Ball(images.shape, 1e-3, seed=5)
    directions = ball.directions(5)
    norms, _ = slow(models[name], images, labels, tiny * directions, order)
    expected = 5 / sum(norm / tiny * ball.mean_length for norm in norms)
    settings = ForwardSettings(samples=5, seed=5, order=order, precision="float64")
    assert forward_igsa(models[name], images, labels, settings).igsa == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["vgg11", "resnet50", "densenet121", "googlenet"])
def test_forward_differentiates_every_family(name):
    model = model_of(name, resolution=32, width=0.0625)
    images, labels, tiny = images_of(1, resolution=32), labels_of(1), 1e-6
    ball = Ball(images.shape, 1e-3, seed=5)
    norms, _ = slow(model, images, labels, tiny * ball.directions(2), "backward")
    expected = 2 / sum(norm / tiny * ball.mean_length for norm in norms)
    found = forward_igsa(model, images, labels, ForwardSettings(samples=2, seed=5, precision="float64"))
    assert found.igsa == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["convnet-norm-sigmoid", "resnet18"])
def test_both_estimate_the_same_number_without_kinks(name):
    model = smooth(MODELS[name]())
    images, labels = images_of(1), labels_of(1)
    one = igsa(model, images, labels, IgsaSettings(samples=150))
    other = forward_igsa(model, images, labels, ForwardSettings(samples=150, relative_error=0, seed=1))
    assert abs(one.igsa - other.igsa) < 4 * math.hypot(one.standard_error, other.standard_error)
    assert one.relative_error < 0.03


def test_kinks_inside_the_ball_lower_igsa_and_a_small_enough_ball_has_none(models):
    images, labels = images_of(1), labels_of(1)
    model = models["resnet18"]

    def ratio(radius):
        one = igsa(model, images, labels, IgsaSettings(samples=60, radius=radius))
        settings = ForwardSettings(samples=60, radius=radius, precision="float64")
        return one.igsa / forward_igsa(model, images, labels, settings).igsa

    assert ratio(1e-7) == pytest.approx(1, abs=0.03)
    assert ratio(1e-2) < 0.7


class Scaled(nn.Module):
    """Logits (0, <w, x>) of a flattened image: one layer, one weight, a gradient in closed form."""

    def __init__(self, pixels, weight):
        super().__init__()
        self.weight = nn.Parameter(weight * torch.ones(1, pixels, dtype=torch.float64))

    def forward(self, images):
        logit = F.linear(images.flatten(1), self.weight)
        return torch.cat([torch.zeros_like(logit), logit], 1)


def jacobian_of(model, images):
    """Of (p - 1) x, the gradient for label 1: (p - 1) I + p (1 - p) x w^T."""
    x, w = images.flatten(), model.weight.detach().flatten()
    p = torch.sigmoid(w @ x)
    return (p - 1) * torch.eye(len(x), dtype=torch.float64) + p * (1 - p) * torch.outer(x, w)


def test_closed_form_of_a_linear_model_with_a_known_jacobian():
    # At w = 0 the gradient is (p - y) x with p = 1/2 and p' = 0 along w, so Phi(x + D) - Phi(x) = +- D / 2 exactly.
    images, labels = images_of(1, resolution=4), torch.tensor([1])
    pixels = images.numel()
    model, radius = Scaled(pixels, 0.0), 0.02
    weight = 2.0  # omega of the only layer: 1 + 1/1
    expected = 1 / (weight * 0.5 * radius * pixels / (pixels + 1))
    forward = forward_igsa(model, images, labels, ForwardSettings(samples=3, radius=radius, precision="float64"))
    assert forward.igsa == pytest.approx(expected, rel=1e-12)
    assert forward.standard_error < 1e-12  # |D / 2| is the same in every direction
    found = igsa(model, images, labels, IgsaSettings(samples=4000, radius=radius))
    assert found.low < expected < found.high
    assert found.relative_error < 1e-3
    model = Scaled(pixels, 0.1)
    ball = Ball(images.shape, radius, seed=2)
    lengths = (ball.directions(30).flatten(1) @ jacobian_of(model, images).T).norm(dim=1)
    expected = 1 / (weight * ball.mean_length * lengths.mean().item())
    settings = ForwardSettings(samples=30, radius=radius, seed=2, precision="float64")
    assert forward_igsa(model, images, labels, settings).igsa == pytest.approx(expected, rel=1e-12)


def test_igsa_halves_when_the_loss_doubles(models, monkeypatch):
    images, labels = images_of(2), labels_of(2)

    def both():
        one = igsa(models["resnet18"], images, labels, IgsaSettings(samples=5))
        return one.igsa, forward_igsa(models["resnet18"], images, labels, ForwardSettings(samples=5)).igsa

    before = both()
    entropy = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda *args: 2 * entropy(*args))
    assert both() == pytest.approx([value / 2 for value in before], rel=1e-6)


def test_igsa_times_radius_does_not_depend_on_the_radius_to_first_order():
    model = smooth(MODELS["convnet"]())
    images, labels = images_of(1), labels_of(1)
    small, large = (
        radius * igsa(model, images, labels, IgsaSettings(samples=20, radius=radius)).igsa for radius in (1e-5, 1e-4)
    )
    assert small == pytest.approx(large, rel=1e-3)
    small, large = (
        radius * forward_igsa(model, images, labels, ForwardSettings(samples=20, radius=radius)).igsa
        for radius in (1e-5, 1e-1)
    )
    assert small == pytest.approx(large, rel=1e-6)


def test_the_interval_covers_the_true_value_as_often_as_it_says():
    # A Jacobian near rank one makes |J u| vary as much as it can: about like the size of one normal number.
    images, labels = images_of(1, resolution=2), torch.tensor([1])
    model = Scaled(images.numel(), 2.0)
    truth = 1 / (2 * _mean_length_of_changes(model, images, radius=1e-3))
    covered, stopped = 0, []
    for seed in range(200):
        found = forward_igsa(model, images, labels, ForwardSettings(relative_error=0.04, seed=seed))
        covered += found.low <= truth <= found.high
        stopped.append(found.samples)
        assert found.relative_error <= 0.04
    assert max(stopped) > min(stopped) >= 128  # the rule ended the draws, not the first look
    assert 177 <= covered <= 199  # 95 % of 200 is 190; binomial, four standard deviations either way


def _mean_length_of_changes(model, images, radius):
    pixels = images.numel()
    normal = torch.randn(1_000_000, pixels, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    lengths = (normal @ jacobian_of(model, images).T).norm(dim=1) / normal.norm(dim=1)
    return radius * pixels / (pixels + 1) * lengths.mean().item()


def test_draws_end_at_the_target_or_with_k(models):
    images, labels = images_of(1), labels_of(1)
    model = models["convnet"]
    first = forward_igsa(model, images, labels, ForwardSettings(relative_error=0.5))
    assert first.samples == 128
    second = forward_igsa(model, images, labels, ForwardSettings(relative_error=first.relative_error * 0.99))
    assert second.samples == 192
    assert forward_igsa(model, images, labels, ForwardSettings(relative_error=1e-6, samples=150)).samples == 150
    assert igsa(model, images, labels, IgsaSettings(samples=130)).samples == 130
    assert igsa(model, images, labels, IgsaSettings(samples=500, relative_error=0.5)).samples == 128


@pytest.mark.parametrize(("estimator", "settings"), [(igsa, IgsaSettings), (forward_igsa, ForwardSettings)])
def test_seeded_and_the_same_whatever_fits_into_memory(models, monkeypatch, estimator, settings):
    images, labels = images_of(1), labels_of(1)
    model = models["resnet18"]
    ours = settings(samples=10, seed=3, precision="float64")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    once = estimator(model, images, labels, ours)
    assert estimator(model, images, labels, ours) == once
    assert estimator(model, images, labels, settings(samples=10, seed=4, precision="float64")) != once
    monkeypatch.setattr("gradleak.smoothness.problem.trials_that_fit", lambda *args, **kwargs: 4)
    assert estimator(model, images, labels, ours).igsa == pytest.approx(once.igsa, rel=EXACT)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    # Evaluation mode whatever mode the model is in, which stays as it was.
    model.train()
    assert estimator(model, images, labels, ours).igsa == pytest.approx(once.igsa, rel=EXACT)
    assert model.training
    model.eval()


def test_float32_is_refused_where_rounding_outweighs_the_differences(models):
    images, labels = images_of(1), labels_of(1)
    with pytest.raises(UserError, match=r"'float32', where radius 1e-06 gives .* use 'float64' or a larger radius$"):
        igsa(models["convnet"], images, labels, IgsaSettings(samples=10, radius=1e-6, precision="float32"))


def test_float32_is_near_float64(models):
    images, labels = images_of(1), labels_of(1)
    model = models["convnet"]
    exact = igsa(model, images, labels, IgsaSettings(samples=10)).igsa
    assert igsa(model, images, labels, IgsaSettings(samples=10, precision="float32")).igsa == pytest.approx(
        exact, rel=1e-2
    )
    exact = forward_igsa(model, images, labels, ForwardSettings(samples=10, precision="float64")).igsa
    assert forward_igsa(model, images, labels, ForwardSettings(samples=10)).igsa == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(("estimator", "settings"), [(igsa, IgsaSettings), (forward_igsa, ForwardSettings)])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, x, y: (m, x[0], y), r"images are \(3, 16, 16\), allowed: \(N, 3, H, W\)"),
        (lambda m, x, y: (m, 2 * x, y), r"images must be in \[0, 1\], found"),
        (lambda m, x, y: (m, x * math.nan, y), r"images must be in \[0, 1\]"),
        (lambda m, x, y: (m, x, y[:1]), r"labels are \(1,\), must be \(2,\)"),
        (lambda m, x, y: (model_of("resnet18", width=0.0625, bn_mode="train"), x, y), "no running statistics"),
    ],
)
def test_bad_input_is_one_clear_line(models, estimator, settings, change, message):
    model, images, labels = change(models["convnet"], images_of(2), labels_of(2))
    with pytest.raises(UserError, match=message) as caught:
        estimator(model, images, labels, settings(samples=2))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives(models):
    images, labels = images_of(1), labels_of(1)
    for name, make in MODELS.items():
        there = make().cuda()
        ours = IgsaSettings(samples=10)
        assert igsa(there, images, labels, ours).igsa == pytest.approx(
            igsa(models[name], images, labels, ours).igsa, rel=1e-6
        )
        ours = ForwardSettings(samples=10, precision="float64")
        assert forward_igsa(there, images, labels, ours).igsa == pytest.approx(
            forward_igsa(models[name], images, labels, ours).igsa, rel=1e-6
        )
