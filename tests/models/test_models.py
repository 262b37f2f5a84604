"""Models: sizes, stems, widths, seeds, and PyTorch's default initialisation."""

import pytest
import torch
from core_cases import MEAN, STD
from torch import nn

from gradleak.errors import UserError
from gradleak.models.base import MODELS, batch_norm_layers, build_model, set_bn_mode
from gradleak.specs import ModelSpec


def build(name, classes=10, resolution=32, **spec):
    return build_model(ModelSpec(name=name, **spec), classes, resolution, MEAN, STD)


def count(model):
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_imagenet_resnets_have_torchvisions_number_of_parameters(name, parameters):
    with torch.device("meta"):
        model = build(name, classes=1000, resolution=224, options={"stem": "imagenet"})
    assert count(model) == parameters


def test_imagenet_resnet_computes_what_torchvisions_does():
    from torchvision.models import resnet18

    model = build("resnet18", classes=7, resolution=64, options={"stem": "imagenet"})
    theirs = resnet18(num_classes=7).eval()
    names = list(theirs.state_dict())
    theirs.load_state_dict(dict(zip(names, model.network.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(images), theirs(model.normalise(images)), atol=1e-5)


@pytest.mark.parametrize(("stem", "size"), [("cifar", 4), ("imagenet", 1)])
def test_final_feature_map_of_a_32_pixel_image(stem, size):
    model = build("resnet18", width=0.125, options={"stem": stem})
    features = model.network.stages(model.network.stem(torch.zeros(2, 3, 32, 32)))
    assert features.shape == (2, 64, size, size)


def test_default_stem_is_cifar():
    assert [v.shape for v in build("resnet18", width=0.125).state_dict().values()] == [
        v.shape for v in build("resnet18", width=0.125, options={"stem": "cifar"}).state_dict().values()
    ]


@pytest.mark.parametrize("width", [0.05, 0.25, 1.0, 2.0])
def test_width_multiplies_every_layers_channels(width):
    channels = [m.out_channels for m in build("resnet18", width=width).modules() if isinstance(m, nn.Conv2d)]
    full = [m.out_channels for m in build("resnet18").modules() if isinstance(m, nn.Conv2d)]
    assert channels == [max(1, round(c * width)) for c in full]
    convnet = build("convnet", width=width, options={"channels": 8, "stages": 2, "layers": 1})
    assert [m.out_channels for m in convnet.modules() if isinstance(m, nn.Conv2d)] == [
        max(1, round(8 * width)),
        max(1, round(16 * width)),
    ]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_seed_decides_the_weights_and_the_global_generator_is_untouched():
    torch.manual_seed(123)
    state = torch.get_rng_state()
    first = build("resnet18", width=0.125, init_seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(321)
    assert same(first, build("resnet18", width=0.125, init_seed=4))
    other = build("resnet18", width=0.125, init_seed=5)
    assert not same(first, other)
    assert not torch.equal(first.network.fc.bias, other.network.fc.bias)


def test_weights_have_pytorchs_default_distribution_not_torchvisions():
    model = build("resnet18", width=0.5)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # Kaiming-uniform with a = sqrt(5) is uniform in +- 1/sqrt(fan-in).
            bound = module.weight[0].numel() ** -0.5
            weight = module.weight.detach()
            assert weight.abs().max() <= bound
            if weight.numel() > 2000:
                assert weight.abs().max() > 0.99 * bound
                assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
            if module.bias is not None:
                assert 0 < module.bias.abs().max() <= bound
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def test_images_between_0_and_1_are_normalised_inside_the_model():
    model = build("convnet", options={"channels": 2, "stages": 1, "layers": 1})
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    normal = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.equal(model(images), model.network(normal))
    assert not torch.allclose(model(images), model.network(images))


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"bias": False}, lambda n: all(m.bias is None for m in n.features if isinstance(m, nn.Conv2d))),
        ({"norm": True}, lambda n: sum(isinstance(m, nn.BatchNorm2d) for m in n.features) == 4),
        ({"pool": False}, lambda n: n.fc.in_features == 8 * 16 * 16),
        ({"pool": True}, lambda n: n.fc.in_features == 8 * 4 * 4),
        ({"kernel": 5}, lambda n: n.features[0].padding == (2, 2)),
        ({"kernel": 5, "padding": 1, "pool": False}, lambda n: n.fc.in_features == 8 * 8 * 8),
        ({"activation": "sigmoid"}, lambda n: isinstance(n.features[1], nn.Sigmoid)),
        ({"dropout": 0.5}, lambda n: n.dropout.p == 0.5 and not n.dropout.training),
    ],
)
def test_convnet_options(options, check):
    options = {"channels": 4, "stages": 2, "layers": 2} | options
    model = build("convnet", resolution=16, options=options)
    assert check(model.network)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "unknown model 'resnet19'; known: .*resnet18, resnet34"),
        ("resnet18", {"stemm": "cifar"}, "model 'resnet18': options .*stemm"),
        ("resnet18", {"stem": "vgg"}, "stem is 'vgg'; known: cifar, imagenet"),
        ("convnet", {"activation": "tanh"}, "activation is 'tanh'; known: relu, sigmoid, none"),
        ("convnet", {"stages": 6}, "too small"),
        ("convnet", {"stages": "three"}, "model 'convnet': option stages must be a whole number .found .three"),
    ],
)
def test_unknown_models_and_options_are_user_errors(name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        build(name, options=options)
    assert "\n" not in str(caught.value)


def test_models_are_in_evaluation_mode_and_never_work_in_place():
    for name in MODELS:
        model = build(name, width=0.125)
        assert not any(module.training for module in model.modules())
        assert not any(getattr(module, "inplace", False) for module in model.modules())


def test_bn_mode_train_uses_the_statistics_of_the_mini_batch_and_has_no_memory():
    model = set_bn_mode(build("resnet18", width=0.125), "train")
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = model(images)
    assert torch.equal(first, model(images))
    assert not torch.allclose(first[:2], model(images[:2]), atol=1e-3)
    assert all(layer.running_mean is None for layer in batch_norm_layers(model).values())
    evaluated = set_bn_mode(build("resnet18", width=0.125), "eval")
    assert torch.allclose(evaluated(images)[:2], evaluated(images[:2]), atol=1e-5)
