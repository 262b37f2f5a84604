"""Weights as other programs save them give the network that was saved, and what was decided is said."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from gradleak.audit.source import open_network
from gradleak.audit.spec import Checkpoint, ModelSource
from gradleak.audit.weights import load_weights, read_weights
from gradleak.errors import UserError


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)
        self.norm.running_mean = torch.rand(4)


class Tied(Net):
    """One parameter in two layers, and one layer under two names."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.second, self.again = nn.Linear(4, 10), self.conv
        self.second.weight = self.head.weight


class Wrapped(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.model = Net(seed)


def equal(network: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def loaded(path: Path, state: dict[str, Tensor], network: nn.Module) -> tuple[str, ...]:
    save_file({name: value.clone() for name, value in state.items()}, path)
    return load_weights(network, read_weights(path))


@pytest.mark.parametrize(
    "prefix", ["module.", "_module.", "_orig_mod.", "module._orig_mod.", "model.", "module.module."]
)
def test_wrappers_are_left_out_and_named(tmp_path, prefix):
    state, network = Net(1).state_dict(), Net(2)
    notes = loaded(tmp_path / "w.safetensors", {prefix + name: value for name, value in state.items()}, network)
    assert equal(network, state)
    assert notes == (f"w.safetensors: 9 names are read without '{prefix}'",)


def test_wrappers_inside_and_around_the_network(tmp_path):
    state, network = Net(1).state_dict(), Net(2)
    inside = {name.replace("conv.", "conv._orig_mod."): value for name, value in state.items()}
    assert "2 names are read without wrappers" in loaded(tmp_path / "w.safetensors", inside, network)[0]
    assert equal(network, state)
    wrapped = Wrapped(2)
    loaded(tmp_path / "w.safetensors", state, wrapped)
    assert equal(wrapped.model, state)


def test_names_that_fit_are_taken_as_they_are(tmp_path):
    state, network = Wrapped(1).state_dict(), Wrapped(2)
    assert loaded(tmp_path / "w.safetensors", state, network) == ()
    assert equal(network, state)


def test_counters_may_be_missing(tmp_path):
    state, network = Net(1).state_dict(), Net(2)
    assert loaded(tmp_path / "w.safetensors", {k: v for k, v in state.items() if "num_batches" not in k}, network) == ()
    assert equal(network, state)


def test_tied_tensors(tmp_path):
    tied, network, apart = Tied(1), Tied(2), Tied(3)
    save_model(tied, str(tmp_path / "w.safetensors"))
    load_weights(network, read_weights(tmp_path / "w.safetensors"))
    assert equal(network, tied.state_dict())
    assert network.second.weight is network.head.weight
    apart.second.weight = nn.Parameter(torch.zeros(10, 4))
    load_weights(apart, read_weights(tmp_path / "w.safetensors"))
    assert equal(apart, tied.state_dict())


@pytest.mark.parametrize("entry", ["state_dict", "model_state_dict", "model", "anything"])
def test_checkpoints_of_more_than_weights(tmp_path, entry):
    state, network = Net(1).state_dict(), Net(2)
    optimizer = torch.optim.Adam(network.parameters()).state_dict()
    torch.save({"epoch": 3, "optimizer": optimizer, entry: state}, tmp_path / "w.pt")
    assert load_weights(network, read_weights(tmp_path / "w.pt")) == (f"w.pt: its entry '{entry}' is read",)
    assert equal(network, state)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(tmp_path, kind):
    state, network = Net(1).state_dict(), Net(2)
    rounded = {name: value.to(kind) if value.is_floating_point() else value for name, value in state.items()}
    loaded(tmp_path / "w.safetensors", rounded, network)
    assert equal(network, {name: value.to(state[name].dtype) for name, value in rounded.items()})


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_script_takes_a_state_dict_or_another_script(tmp_path):
    state = Net(1).state_dict()
    torch.jit.script(Net(2).eval()).save(tmp_path / "net.pt")
    torch.jit.script(Net(1).eval()).save(tmp_path / "script.pt")
    torch.save({"state_dict": state}, tmp_path / "state.pt")
    source = ModelSource(torchscript=tmp_path / "net.pt")
    for name in ("script.pt", "state.pt"):
        opened = open_network(source, Checkpoint(round=1, weights=tmp_path / name), 10, 16, 0)
        assert equal(opened.network, state)


def test_a_checkpoint_whose_normalisation_is_wrong_is_one_line(tmp_path):
    state = {"normalise.mean": torch.zeros(3), "normalise.std": torch.tensor([1.0, 0.0, torch.nan])}
    save_file(state, tmp_path / "w.safetensors")
    source = ModelSource(name="convnet")
    with pytest.raises(UserError, match=r"w\.safetensors: normalise: std\.1: Input should be greater than 0"):
        open_network(source, Checkpoint(round=1, weights=tmp_path / "w.safetensors"), 10, 16, 0)
