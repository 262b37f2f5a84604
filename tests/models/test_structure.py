"""Named blocks and skip connections: counted, cut, selected."""

import pytest
import torch
from core_cases import MEAN, STD
from torch import nn

from gradleak.errors import UserError
from gradleak.models.base import MODELS, Classifier, build_model
from gradleak.models.reduced_densenet import SOURCES, ConnectedBlock
from gradleak.models.structure import block_parameters, named_blocks, skip_connections
from gradleak.specs import ModelSpec


def build(name, width=1.0, **options):
    return build_model(ModelSpec(name=name, width=width, options=options), 10, 32, MEAN, STD)


def triangle(n):
    return n * (n + 1) // 2


# What layer l = 2, 3, ... reads beyond layer l - 1.
MORE = {
    0: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    1: [0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8],
    2: [0, 1, 1, 2, 1, 2, 1, 3, 1, 3, 1, 3, 1, 3, 1, 4],
}
SKIPS = {
    ("resnet18", None): 2 + 2 + 2 + 2,
    ("resnet34", None): 3 + 4 + 6 + 3,
    ("resnet50", None): 3 + 4 + 6 + 3,
    ("resnet152", None): 3 + 8 + 36 + 3,
    ("densenet121", None): triangle(6) + triangle(12) + triangle(24) + triangle(16),
    ("vgg11", None): 0,
    ("vgg16", None): 0,
    ("vgg19", None): 0,
    ("googlenet", None): 0,
    ("inception_v3", None): 0,
    ("convnet64", None): 0,
    ("swin", None): 2 * (2 + 2 + 6),
    **{("densenet43", v): sum(sum(MORE[v][:n]) for n in (8, 10, 12, 8)) for v in MORE},
    **{("densenet53", v): sum(sum(MORE[v][:n]) for n in (10, 12, 16, 8)) for v in MORE},
}


@pytest.mark.parametrize(("case", "expected"), SKIPS.items())
def test_number_of_skip_connections(case, expected):
    name, variant = case
    with torch.device("meta"):
        assert skip_connections(build(name, **({} if variant is None else {"variant": variant}))) == expected


@pytest.mark.parametrize(
    ("variant", "layer", "expected"),
    [
        (0, 6, [1, 2, 3, 4, 5]),
        (1, 5, [1, 3, 4]),
        (1, 6, [1, 2, 4, 5]),
        (1, 9, [1, 3, 5, 7, 8]),
        (2, 2, [1]),
        (2, 3, [1, 2]),
        (2, 4, [2, 3]),
        (2, 9, [1, 5, 7, 8]),
        (2, 10, [8, 9]),
        (2, 11, [3, 7, 9, 10]),
        (2, 17, [1, 9, 13, 15, 16]),
    ],
)
def test_what_a_layer_of_a_reduced_densenet_reads(variant, layer, expected):
    assert SOURCES[variant](layer) == expected


def test_a_layer_depends_on_the_layers_that_it_reads_and_on_no_others():
    block = ConnectedBlock(5, 2, 3, SOURCES[2]).double().eval()
    outputs = []
    for conv in block.convs:
        conv.register_forward_hook(lambda module, inputs, output: outputs.append(output.relu()))
    read = block(torch.rand(1, 2, 4, 4, dtype=torch.float64))
    # Layer 6, the transition, is even: it reads layers 4 and 5.
    assert torch.equal(read, torch.cat([outputs[3], outputs[4]], dim=1))


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 8), ("resnet34", 16)])
def test_a_cut_removes_exactly_one_skip_and_changes_the_output(name, blocks):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = build(name, width=0.1)
    before = dict(whole.named_parameters())
    outputs = [whole(images)]
    for cut in range(blocks):
        model = build(name, width=0.1, cut=cut)
        assert skip_connections(model) == skip_connections(whole) - 1
        # What is left has the weights of the uncut model; only a projection goes with its shortcut.
        after = dict(model.named_parameters())
        assert all(torch.equal(value, before[key]) for key, value in after.items())
        gone = set(before) - set(after)
        assert all(".downsample." in key for key in gone)
        outputs.append(model(images))
    for index, output in enumerate(outputs):
        assert not any(torch.equal(output, other) for other in outputs[:index])


def test_a_cut_block_computes_its_own_path_only():
    block = build("resnet18", width=0.1, cut=0).network.stages[0][0]
    x = torch.rand(1, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    path = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    assert torch.equal(block(x), torch.relu(path))


def test_cut_minus_one_and_none_cut_nothing():
    for cut in (-1, None):
        with torch.device("meta"):
            assert skip_connections(build("resnet18", cut=cut)) == 8


@pytest.mark.parametrize("cut", [8, -2, "first", 1.0, True])
def test_a_cut_elsewhere_is_a_user_error(cut):
    message = r"option cut (is .*; allowed: 0 to 7, or -1 for none|must be a whole number or null)"
    with pytest.raises(UserError, match=message):
        build("resnet18", width=0.1, cut=cut)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_parameter_belongs_to_exactly_one_block_in_forward_order(name):
    with torch.device("meta"):
        model = build(name)
    blocks = named_blocks(model)
    found = [parameter for block in blocks for parameter in block_parameters(model, block)]
    assert found == [parameter for parameter, _ in model.named_parameters()]
    assert all(block_parameters(model, block) for block in blocks)


def test_a_net_in_net_block_is_one_inception_module():
    with torch.device("meta"):
        model = build("googlenet")
        v3 = build("inception_v3")
    assert named_blocks(model)["nin1"] == ["network.body.nin1."]
    assert sum(name.startswith("nin") for name in named_blocks(model)) == 2 + 5 + 2
    assert sum(name.startswith("nin") for name in named_blocks(v3)) == 3 + 1 + 4 + 1 + 2
    values = dict(model.named_parameters())
    first = sum(values[name].numel() for name in block_parameters(model, "nin1"))
    branches = 192 * 64 + 192 * 96 + 96 * 128 * 9 + 192 * 16 + 16 * 32 * 9 + 192 * 32
    assert first == branches + 2 * (64 + 96 + 128 + 16 + 32 + 32)


def test_an_unknown_block_is_a_user_error_and_other_networks_have_their_children():
    model = Classifier(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten()), 2, MEAN, STD)
    assert named_blocks(model) == {"0": ["network.0."]}
    assert skip_connections(model) == 0
    with pytest.raises(UserError, match="no block 'nin1'; it has: 0"):
        block_parameters(model, "nin1")
