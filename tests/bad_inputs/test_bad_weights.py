"""Weights and images of an audit that cannot be right: one line each, before anything is attacked."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from core_cases import gradleak
from safetensors.torch import save_file
from torch import Tensor

MODEL = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 10)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


class Tied(Tiny):
    def __init__(self):
        super().__init__()
        self.again = nn.Linear(2, 10)
        self.again.weight = self.head.weight


def made(tied=False):
    return Tied() if tied else Tiny()
"""

State = dict[str, Tensor]


def state(**changes: Any) -> State:
    """The tiny model's state dict, with some tensors changed, added or (None) left out."""
    shapes = {"conv.weight": (2, 3, 3, 3), "conv.bias": (2,), "head.weight": (10, 2), "head.bias": (10,)}
    shapes |= {f"norm.{name}": (2,) for name in ("weight", "bias", "running_mean", "running_var")}
    full = {name: torch.ones(shape) for name, shape in shapes.items()} | {
        name.replace("__", "."): value for name, value in changes.items()
    }
    return {name: value for name, value in full.items() if value is not None}


def saved(content: State, name: str = "w.safetensors") -> Callable[[Path], str]:
    """Tensors as safetensors."""

    def made(folder: Path) -> str:
        save_file(content, folder / name)
        return name

    return made


def pickled(content: object) -> Callable[[Path], str]:
    """Anything as `torch.save` writes it."""

    def made(folder: Path) -> str:
        torch.save(content, folder / "w.pt")
        return "w.pt"

    return made


def written(content: bytes, name: str) -> Callable[[Path], str]:
    """A file of these bytes."""

    def made(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return name

    return made


def pipe(folder: Path) -> str:
    """A named pipe that nobody writes into."""
    os.mkfifo(folder / "w.safetensors")
    return "w.safetensors"


class Own:
    """A class of the user's, which a pickle may name."""


#: What the weights are, how they are made, and what the one line says.
WEIGHTS: list[tuple[str, Callable[[Path], str], str]] = [
    (
        "eight-bit integers",
        saved(state(conv__weight=torch.ones(2, 3, 3, 3).to(torch.int8))),
        "'conv.weight' holds int8",
    ),
    ("eight-bit floats", saved(state(conv__bias=torch.ones(2).to(torch.float8_e5m2))), "'conv.bias' holds float8_e5m2"),
    ("complex numbers", saved(state(conv__bias=torch.ones(2).to(torch.complex64))), "'conv.bias' holds complex64"),
    ("truths", saved(state(norm__weight=torch.ones(2).bool())), "'norm.weight' holds bool, but the model's float32"),
    ("not-a-number", saved(state(head__bias=torch.full((10,), torch.nan))), "has 10 of 10 numbers that are not finite"),
    ("infinity", saved(state(conv__bias=torch.tensor([1, torch.inf]))), "has 1 of 2 numbers that are not finite"),
    ("two wrong shapes", saved(state(conv__weight=torch.ones(2), head__bias=torch.ones(3))), "(2 of 8 so)"),
    ("a missing layer", saved(state(head__weight=None, head__bias=None)), "has no 'head.weight', which the model has"),
    (
        "half a wrapper",
        saved({**state(), "module.extra": torch.ones(1)}),
        "has 'module.extra', which the model does not",
    ),
    ("a sparse tensor", pickled(state(head__weight=torch.ones(10, 2).to_sparse())), "'head.weight' is sparse"),
    ("no tensors", pickled({"epoch": 3, "lr": 0.1}), "holds no weights by name, or several (entries 'epoch', 'lr')"),
    ("two models", pickled({"g": state(), "d": state()}), "or several (entries 'g', 'd')"),
    (
        "an object",
        pickled({"state_dict": state(), "args": Own()}),
        "a pickle can run code when it is read (Unsupported",
    ),
    ("a number", pickled(3), "holds no weights by name, or several (int)"),
    ("noise", written(bytes(range(256)) * 9, "w.pt"), "w.pt: "),
    ("an empty file", written(b"", "w.safetensors"), "cannot be read as safetensors"),
    ("an empty pickle", written(b"", "w.bin"), "cannot be read as weights (EOFError)"),
    ("an index of shards", written(b'{"weight_map": {}}', "model.safetensors.index.json"), "index.json: "),
    ("a pipe", pipe, "is a named pipe, must be a file"),
    ("a folder", lambda folder: ".", "is a folder, must be a file"),
]

#: What an audit says of its images and channels, and what the one line says.
SETTINGS: list[tuple[str, dict[str, Any], str]] = [
    ("columns of a known set", {"images": {"dataset": "photos10", "columns": {"label": "y"}}}, "belong to path"),
    ("a column's role", {"images": {"path": ".", "columns": {"labels": "y"}}}, "images.columns.labels"),
    ("a class twice", {"images": {"dataset": "photos10", "classes": ["a", "a"]}}, "lists 'a' more than once"),
    (
        "one channel",
        {"model": {"import": "tiny:Tiny", "channels": 1}},
        "takes images of 3 channel(s), but model.channels",
    ),
    ("two channels", {"model": {"import": "tiny:Tiny", "channels": 2}}, "model.channels: Input should be 1 or 3"),
    (
        "channels of the normalisation",
        {"model": {"import": "tiny:Tiny", "normalise": {"mean": [0.5], "std": [0.2]}}},
        "normalise has 1 channels, but channels is 3",
    ),
    (
        "a deviation of 0",
        {"model": {"import": "tiny:Tiny", "normalise": {"mean": [0.5] * 3, "std": [1, 1, 0]}}},
        "model.normalise.std.2: Input should be greater than 0",
    ),
]


@pytest.fixture
def line(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Audits the tiny model with some keys changed, and returns the only line that is printed."""
    (tmp_path / "tiny.py").write_text(MODEL)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"device": "cpu", "cache": str(cache)}))
    sys.modules.pop("tiny", None)

    def audited(**changes: Any) -> str:
        content = {"model": {"import": "tiny:Tiny"}, "images": {"dataset": "photos10", "resolution": 16}, **changes}
        (tmp_path / "audit.yaml").write_text(yaml.safe_dump(content))
        arguments = ("--out", tmp_path / "out", "--config", tmp_path / "config.yaml")
        ran = gradleak("audit", tmp_path / "audit.yaml", *arguments)
        assert (ran.code, ran.out) == (2, ""), ran.err
        assert not (tmp_path / "out").exists()
        assert len(ran.err.strip().splitlines()) == 1, ran.err
        return ran.err

    yield audited
    sys.modules.pop("tiny", None)


@pytest.mark.parametrize(("make", "expected"), [row[1:] for row in WEIGHTS], ids=[row[0] for row in WEIGHTS])
def test_weights_that_cannot_be_right_are_one_line(
    tmp_path: Path, line: Callable[..., str], make: Callable[[Path], str], expected: str
) -> None:
    assert expected in line(checkpoints=[{"round": 0, "weights": make(tmp_path)}])


def test_tied_weights_that_differ_are_one_line(tmp_path: Path, line: Callable[..., str]) -> None:
    weights = saved(state(again__weight=torch.zeros(10, 2), again__bias=torch.zeros(10)))(tmp_path)
    model = {"import": "tiny:made", "options": {"tied": True}}
    assert "'again.weight' differ" in line(model=model, checkpoints=[{"round": 0, "weights": weights}]).replace(
        "'head.weight', ", ""
    )


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in SETTINGS], ids=[row[0] for row in SETTINGS])
def test_settings_that_cannot_be_right_are_one_line(
    line: Callable[..., str], changes: dict[str, Any], expected: str
) -> None:
    assert expected in line(**changes)
