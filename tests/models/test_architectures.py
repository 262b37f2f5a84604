"""Every architecture: numbers of parameters worked out by hand, shapes, widths, and what torchvision computes."""

from pathlib import Path

import pytest
import torch
import yaml
from core_cases import MEAN, STD
from torch import nn

from gradleak.engine.activation import supports
from gradleak.errors import UserError
from gradleak.models.base import MODELS, build_model
from gradleak.specs import ModelSpec

CLASSES = 10
SHARED = yaml.safe_load((Path(__file__).parents[2] / "workflow/experiments.yaml").read_text(encoding="utf-8"))
#: Table 4's columns: options of `convnet64`.
MODIFICATIONS = SHARED["axes"]["modifications"]["values"]


def build(name, classes=CLASSES, resolution=32, width=1.0, **options):
    return build_model(ModelSpec(name=name, width=width, options=options), classes, resolution, MEAN, STD)


def count(name, **arguments):
    with torch.device("meta"):
        return sum(value.numel() for value in build(name, **arguments).parameters())


def conv(before, after, *kernel, bias=False):
    height, wide = kernel if len(kernel) == 2 else kernel * 2
    return before * after * height * wide + bias * after


def cbr(before, after, *kernel):
    """Convolution without bias and batch normalisation."""
    return conv(before, after, *kernel) + 2 * after


def linear(before, after):
    return before * after + after


def vgg(*stages, norm=True):
    total, before = 0, 3
    for convolutions, out in stages:
        for _ in range(convolutions):
            total += conv(before, out, 3, bias=True) + 2 * out * norm
            before = out
    return total + linear(before, CLASSES)


def resnet(counts, expansion):
    total, before = cbr(3, 64, 3), 64
    for stage, blocks in enumerate(counts):
        planes = 64 * 2**stage
        out = planes * expansion
        for block in range(blocks):
            if expansion == 1:
                total += cbr(before, planes, 3) + cbr(planes, planes, 3)
            else:
                total += cbr(before, planes, 1) + cbr(planes, planes, 3) + cbr(planes, out, 1)
            if block == 0 and (stage > 0 or before != out):
                total += cbr(before, out, 1)
            before = out
    return total + linear(before, CLASSES)


def densenet121():
    total, channels = cbr(3, 64, 3), 64
    for block, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            total += 2 * channels + conv(channels, 128, 1) + 2 * 128 + conv(128, 32, 3)
            channels += 32
        if block < 3:
            total += 2 * channels + conv(channels, channels // 2, 1)
            channels //= 2
    return total + 2 * channels + linear(channels, CLASSES)


def reduced(reads, last):
    """`reads`: per block, how many layers' outputs layer 2, 3, ... and at last the transition reads."""
    total, channels = conv(3, 64, 7), 64
    for block, numbers in enumerate(reads):
        total += 2 * channels + conv(channels, 32, 3, bias=True)
        total += sum(conv(32 * number, 32, 3, bias=True) for number in numbers[:-1])
        out = last if block == 3 else 16 * numbers[-1]
        total += conv(32 * numbers[-1], out, 1, bias=True) + 2 * out
        channels = out
    return total + 2 * channels + linear(channels * 2 * 2, 512) + linear(512, CLASSES)


# Layer l reads layers 1 to l - 1; in variant 1 l - 1, l - 2, l - 4, ... and 1; in variant 2 l - 1, l - 2 and, for odd
# l, l - 4, l - 8, l - 16.
DENSE = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
SHORT1 = [1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
SHORT2 = [1, 2, 2, 3, 2, 3, 2, 4, 2, 4, 2, 4, 2, 4, 2, 5]


def per_block(numbers, layers):
    return [numbers[:n] for n in layers]


def googlenet_block(before, ones, down3, threes, down5, fives, pool):
    return (
        cbr(before, ones, 1)
        + cbr(before, down3, 1)
        + cbr(down3, threes, 3)
        + cbr(before, down5, 1)
        + cbr(down5, fives, 3)
        + cbr(before, pool, 1)
    )


def googlenet():
    return (
        cbr(3, 64, 3)
        + cbr(64, 64, 1)
        + cbr(64, 192, 3)
        + googlenet_block(192, 64, 96, 128, 16, 32, 32)
        + googlenet_block(64 + 128 + 32 + 32, 128, 128, 192, 32, 96, 64)
        + googlenet_block(128 + 192 + 96 + 64, 192, 96, 208, 16, 48, 64)
        + googlenet_block(192 + 208 + 48 + 64, 160, 112, 224, 24, 64, 64)
        + googlenet_block(160 + 224 + 64 + 64, 128, 128, 256, 24, 64, 64)
        + googlenet_block(128 + 256 + 64 + 64, 112, 144, 288, 32, 64, 64)
        + googlenet_block(112 + 288 + 64 + 64, 256, 160, 320, 32, 128, 128)
        + googlenet_block(256 + 320 + 128 + 128, 256, 160, 320, 32, 128, 128)
        + googlenet_block(256 + 320 + 128 + 128, 384, 192, 384, 48, 128, 128)
        + linear(384 + 384 + 128 + 128, CLASSES)
    )


def inception_v3():
    def a(before, pool):
        five = cbr(before, 48, 1) + cbr(48, 64, 5)
        double = cbr(before, 64, 1) + cbr(64, 96, 3) + cbr(96, 96, 3)
        return cbr(before, 64, 1) + five + double + cbr(before, pool, 1)

    def b(before):
        return cbr(before, 384, 3) + cbr(before, 64, 1) + cbr(64, 96, 3) + cbr(96, 96, 3)

    def c(before, inner):
        seven = cbr(before, inner, 1) + cbr(inner, inner, 1, 7) + cbr(inner, 192, 7, 1)
        double = cbr(before, inner, 1) + 3 * cbr(inner, inner, 1, 7) + cbr(inner, 192, 1, 7)
        return cbr(before, 192, 1) + seven + double + cbr(before, 192, 1)

    def d(before):
        seven = cbr(before, 192, 1) + 2 * cbr(192, 192, 1, 7) + cbr(192, 192, 3)
        return cbr(before, 192, 1) + cbr(192, 320, 3) + seven

    def e(before):
        three = cbr(before, 384, 1) + 2 * cbr(384, 384, 1, 3)
        double = cbr(before, 448, 1) + cbr(448, 384, 3) + 2 * cbr(384, 384, 1, 3)
        return cbr(before, 320, 1) + three + double + cbr(before, 192, 1)

    stem = cbr(3, 32, 3) + cbr(32, 32, 3) + cbr(32, 64, 3) + cbr(64, 80, 1) + cbr(80, 192, 3)
    return (
        stem
        + a(192, 32)
        + a(64 + 64 + 96 + 32, 64)
        + a(64 + 64 + 96 + 64, 64)
        + b(64 + 64 + 96 + 64)
        + c(384 + 96 + 288, 128)
        + 2 * c(4 * 192, 160)
        + c(4 * 192, 192)
        + d(4 * 192)
        + e(320 + 192 + 768)
        + e(320 + 4 * 384 + 192)
        + linear(320 + 4 * 384 + 192, CLASSES)
    )


def convnet64():
    multiples = [(1, 2), (2, 2), (2, 4), (4, 4), (4, 4), (4, 4), (4, 4)]
    body = conv(3, 64, 3, bias=True) + sum(conv(64 * a, 64 * b, 3, bias=True) for a, b in multiples)
    return body + linear(256 * (32 // 3 // 3) ** 2, CLASSES)


def swin():
    def block(channels, heads):
        attention = linear(channels, 3 * channels) + linear(channels, channels) + (2 * 4 - 1) ** 2 * heads
        return 4 * channels + attention + linear(channels, 4 * channels) + linear(4 * channels, channels)

    total, channels = conv(3, 96, 2, bias=True) + 2 * 96, 96
    for stage, (depth, heads) in enumerate(((2, 3), (2, 6), (6, 12))):
        total += depth * block(channels, heads)
        if stage < 2:
            total += 2 * 4 * channels + 4 * channels * 2 * channels
            channels *= 2
    return total + 2 * channels + linear(channels, CLASSES)


LAYERS43, LAYERS53 = (8, 10, 12, 8), (10, 12, 16, 8)
COUNTS = {
    "vgg11": ({}, vgg((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))),
    "vgg11-plain": ({"norm": False}, vgg((1, 64), (1, 128), (2, 256), (2, 512), (2, 512), norm=False)),
    "vgg16": ({}, vgg((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))),
    "vgg19": ({}, vgg((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))),
    "resnet18": ({}, resnet((2, 2, 2, 2), 1)),
    "resnet34": ({}, resnet((3, 4, 6, 3), 1)),
    "resnet50": ({}, resnet((3, 4, 6, 3), 4)),
    "resnet152": ({}, resnet((3, 8, 36, 3), 4)),
    "densenet121": ({}, densenet121()),
    "densenet43": ({}, reduced(per_block(DENSE, LAYERS43), 128)),
    "densenet43-1": ({"variant": 1}, reduced(per_block(SHORT1, LAYERS43), 128)),
    "densenet43-2": ({"variant": 2}, reduced(per_block(SHORT2, LAYERS43), 64)),
    "densenet53": ({}, reduced(per_block(DENSE, LAYERS53), 128)),
    "densenet53-1": ({"variant": 1}, reduced(per_block(SHORT1, LAYERS53), 128)),
    "densenet53-2": ({"variant": 2}, reduced(per_block(SHORT2, LAYERS53), 64)),
    "googlenet": ({}, googlenet()),
    "inception_v3": ({}, inception_v3()),
    "swin": ({}, swin()),
    "convnet64": ({}, convnet64()),
}
FAMILIES = sorted({name.split("-")[0] for name in COUNTS})


def test_every_registered_model_is_counted_here():
    assert {*FAMILIES, "convnet"} == set(MODELS)


@pytest.mark.parametrize("case", COUNTS)
def test_numbers_of_parameters_are_those_worked_out_by_hand(case):
    options, expected = COUNTS[case]
    assert count(case.split("-")[0], **options) == expected


def test_reduced_densenets_have_the_published_numbers_of_parameters():
    # In millions, from Ju et al. 2022: Baseline, ShortNet1, ShortNet2.
    for name, published in (("densenet43", (2.17, 1.59, 0.97)), ("densenet53", (3.15, 2.16, 1.20))):
        for variant, millions in enumerate(published):
            assert round(count(name, variant=variant) / 1e6, 2) == millions


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_32_and_64_pixels_give_logits(name, resolution):
    with torch.device("meta"):
        model = build(name, classes=7, resolution=resolution)
        assert model(torch.zeros(2, 3, resolution, resolution)).shape == (2, 7)


@pytest.mark.parametrize("width", [0.05, 0.5, 1.3])
@pytest.mark.parametrize("name", FAMILIES)
def test_width_multiplies_channels(name, width):
    with torch.device("meta"):
        narrow, full = build(name, width=width), build(name)
        assert narrow(torch.zeros(1, 3, 32, 32)).shape == (1, CLASSES)
    for scaled, module in zip(narrow.modules(), full.modules(), strict=True):
        if isinstance(module, nn.Conv2d):
            # Within a sum of roundings: a dense net's transition halves what several layers have rounded.
            assert scaled.out_channels == pytest.approx(width * module.out_channels, rel=0.35, abs=3)
            if name.startswith(("vgg", "convnet")):
                assert scaled.out_channels == max(1, round(width * module.out_channels))


@pytest.mark.parametrize("name", FAMILIES)
def test_fast_matcher_supports_every_layer_but_attention(name):
    with torch.device("meta"):
        assert supports(build(name)) == (name != "swin")


def test_swins_windows_must_fit():
    with pytest.raises(UserError, match="'swin': resolution is 48; it must be a multiple of 32"):
        build("swin", resolution=48)
    model = build("swin", width=0.125)
    sizes = []
    for stage in (1, 3, 5):
        model.network.features[stage].register_forward_hook(lambda m, i, out: sizes.append(tuple(out.shape[1:3])))
    model(torch.rand(1, 3, 32, 32))
    assert sizes == [(16, 16), (8, 8), (4, 4)]


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "inception_v3"])
def test_imagenet_stem_takes_its_images_and_no_smaller_ones(name):
    resolution = 75 if name == "inception_v3" else 32
    with torch.device("meta"):
        model = build(name, stem="imagenet", resolution=resolution)
        assert model(torch.zeros(1, 3, resolution, resolution)).shape == (1, CLASSES)
    if name == "inception_v3":
        with pytest.raises(UserError, match="'inception_v3': a 64x64 image is too small here; at least 75"):
            build(name, stem="imagenet", resolution=64)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("resnet50", {}),
        ("densenet121", {}),
        ("googlenet", {"aux_logits": False}),
        ("inception_v3", {"aux_logits": False}),
    ],
)
def test_imagenet_networks_compute_what_torchvisions_do(name, theirs):
    from torchvision import models

    init = {} if name in ("resnet50", "densenet121") else {"init_weights": False}
    size = 80 if name == "inception_v3" else 64
    model = build(name, classes=5, resolution=size, stem="imagenet")
    other = getattr(models, name)(num_classes=5, **theirs, **init).eval()
    names = list(other.state_dict())
    other.load_state_dict(dict(zip(names, model.network.state_dict().values(), strict=True)))
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    # Features rather than logits, which hardly depend on the image before training.
    theirs_in, ours_in = [], []
    (other.classifier if name == "densenet121" else other.fc).register_forward_pre_hook(
        lambda module, inputs: theirs_in.append(inputs[0])
    )
    model.network.fc.register_forward_pre_hook(lambda module, inputs: ours_in.append(inputs[0]))
    with torch.no_grad():
        other(model.normalise(images))
        model(images)
    assert torch.allclose(ours_in[0], theirs_in[0], rtol=1e-4, atol=1e-6 * float(theirs_in[0].abs().max()))
    assert float(ours_in[0].abs().max()) > 0


def test_vgg_features_are_torchvisions():
    from torchvision.models import vgg11_bn

    with torch.device("meta"):
        ours, theirs = build("vgg11").network.features, vgg11_bn(init_weights=False).features
    assert [str(layer) for layer in ours] == [str(layer).replace("inplace=True", "") for layer in theirs]


def test_convnet64_is_the_standard_convnet_of_sec_5_2_2():
    network = build("convnet64", width=0.125).network
    convolutions = [m for m in network.features if isinstance(m, nn.Conv2d)]
    assert all(m.kernel_size == (3, 3) and m.padding == (1, 1) and m.bias is not None for m in convolutions)
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.features) == 2
    assert network.dropout.p > 0
    assert sum(isinstance(m, nn.ReLU) for m in network.features) == len(convolutions) == 8


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("None", lambda n: n.fc.in_features == 256 * 3 * 3),
        ("R ReLU", lambda n: not any(isinstance(m, nn.ReLU) for m in n.modules())),
        ("R DropOut", lambda n: n.dropout.p == 0),
        ("R MaxPool2d", lambda n: n.fc.in_features == 256 * 32 * 32),
        # Each convolution changes the size by 2 * padding - kernel + 1; six before the first pooling, two after.
        ("I kernel to 4", lambda n: n.fc.in_features == 256 * (((32 - 6) // 3 - 2) // 3) ** 2),
        ("R bias", lambda n: not any(name.endswith("bias") for name, _ in n.named_parameters())),
        ("D kernel to 2", lambda n: n.fc.in_features == 256 * (((32 + 6) // 3 + 2) // 3) ** 2),
        ("D kernel to 1", lambda n: n.fc.in_features == 256 * (((32 + 12) // 3 + 4) // 3) ** 2),
        ("I padding to 2", lambda n: n.fc.in_features == 256 * (((32 + 12) // 3 + 4) // 3) ** 2),
        ("I padding to 3", lambda n: n.fc.in_features == 256 * (((32 + 24) // 3 + 8) // 3) ** 2),
    ],
)
def test_each_modification_of_table_4_changes_what_it_says(name, check):
    with torch.device("meta"):
        model = build("convnet64", **MODIFICATIONS[name])
        assert check(model.network)
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, CLASSES)
        plain = build("convnet64")
    changed = [str(m) for m in model.network.modules()] != [str(m) for m in plain.network.modules()]
    assert changed == (name != "None")


def test_modifications_are_named_as_the_published_table_names_them():
    from importlib.resources import files

    rows = (files("gradleak.resources") / "published" / "table4.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == list(MODIFICATIONS)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("densenet43", {"variant": 3}, "variant is 3; known: 0"),
        ("densenet53", {"variant": "dense"}, "option variant must be a whole number .found 'dense'"),
        ("densenet43", {"stem": "cifar"}, "options .*stem"),
        ("googlenet", {"stem": "resnet"}, "stem is 'resnet'; known: cifar, imagenet"),
        ("densenet121", {"stem": "none"}, "stem is 'none'; known: cifar, imagenet"),
        ("convnet", {"layout": "1 P0"}, "layout has 'P0'"),
        ("convnet", {"layout": "1 x"}, "layout has 'x'"),
        ("convnet", {"layout": "P2"}, "at least one convolution"),
        ("convnet64", {"pool": True, "layout": "1 P3 P3 P3 P3"}, "too small"),
    ],
)
def test_bad_options_are_user_errors(name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        build(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "least"), [("vgg11", 32), ("densenet43", 16)])
def test_too_small_images_are_user_errors(name, least):
    with pytest.raises(UserError, match=f"a {least - 1}x{least - 1} image is too small here; at least {least}"):
        build(name, resolution=least - 1)
