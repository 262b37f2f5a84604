"""Bad models that users bring to an audit: each gets one line, or a page that says what was not attacked."""

import sys

import pytest
import yaml
from core_cases import gradleak

MODULE = """
import random, sys
import torch
import torch.nn.functional as F
from torch import nn


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class Detached(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, g):
        s = ctx.x.sigmoid()
        return g * s * (1 + ctx.x * (1 - s))


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 4, 4, 4)
        self.head = nn.Linear(64, 10)
        self.register_buffer("seen", torch.zeros(()))
        if kind == "exits":
            sys.exit("no GPU")
        if kind == "lazy":
            self.head = nn.LazyLinear(10)
        if kind == "complex":
            self.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        if kind == "integer":
            self.step = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
        if kind == "second reference":
            weight = self.conv.weight
            self.first = lambda x: F.conv2d(x, weight, None, 4)
        if kind == "one value":
            self.norm = nn.BatchNorm1d(64)

    def forward(self, x):
        kind = self.kind
        if kind == "exits later":
            sys.exit("bye")
        if kind == "recursion":
            return self.forward(x)
        if kind == "no_grad":
            with torch.no_grad():
                return self.logits(x)
        if kind == "counts":
            self.seen.add_(1)
        if kind == "python random":
            return self.logits(x) * random.random()
        if kind == "rounds":
            x = (255 * x).round() / 255
        answer = self.logits(x)
        if kind == "tuple":
            return answer, x
        if kind == "argmax":
            return answer.argmax(1, keepdim=True).expand(-1, 10)
        if kind == "dropout":
            return F.dropout(answer, 0.5)
        if kind == "not finite":
            return answer / 0
        return answer

    def logits(self, x):
        kind = self.kind
        x = self.first(x) if kind == "second reference" else self.conv(x)
        if kind == "straight":
            x = Straight.apply(x)
        if kind == "detached":
            x = Detached.apply(x)
        if kind == "inference":
            with torch.inference_mode():
                x = F.silu(x)
        x = F.silu(x).flatten(1)
        if kind == "one value":
            x = self.norm(x)
        if kind == "distances":
            return self.head(x) + torch.pdist(x.T)[:10]
        if kind == "root":
            return self.head((0 * x).pow(1.5))
        return self.head(x)


def dead():
    net = Net("dead")
    net.head.weight.data.zero_()
    net.head.bias.data.copy_(1e4 * torch.eye(10)[0])
    return net
"""

REFUSED = [
    ("exits", {}, "'own_bad:Net' with options {'kind': 'exits'} fails (SystemExit: no GPU)"),
    ("exits later", {}, "does not take images (2, 3, 16, 16) (SystemExit: bye)"),
    ("recursion", {}, "RecursionError: maximum recursion depth exceeded"),
    ("lazy", {}, "'head.weight' is lazy, without a shape; let the factory call the model once on an image"),
    ("complex", {}, "its parameter 'phase' is complex64"),
    ("integer", {}, "its parameter 'step' is int64"),
    ("second reference", {}, "keep no second reference"),
    ("no_grad", {}, "forward must not run under no_grad or inference_mode, nor detach"),
    ("counts", {}, "answering changes its 'seen'"),
    ("python random", {}, "answers the same images differently"),
    ("dropout", {}, "F.dropout without training=self.training"),
    ("tuple", {}, "answers with a tuple; it must be the logits (n, classes), or have them as `logits`"),
    ("argmax", {}, "answers with torch.int64, not with logits"),
    ("not finite", {}, "answers with numbers that are not finite"),
    ("straight", {}, "function 'Straight' has a backward whose own derivative is not that of what it computes"),
    ("detached", {}, "function 'Detached' has a backward whose own derivative is not that of what it computes"),
    ("distances", {}, "has no second derivative, which attacks need"),
    ("root", {}, "has a second derivative that is not finite"),
    (
        "one value",
        {"client": {"samples": 3, "batch_size": 2, "bn_mode": "train"}},
        "choose client.samples and client.batch_size that leave no mini-batch of 1",
    ),
]


@pytest.fixture
def audit(tmp_path, cache, monkeypatch):
    """Audits `own_bad:<factory>`; returns what the command said."""
    (tmp_path / "own_bad.py").write_text(MODULE)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"device": "cpu", "cache": str(cache)}))
    monkeypatch.delitem(sys.modules, "own_bad", raising=False)

    def run(factory="Net", options=None, **changes):
        content = {
            "model": {"import": f"own_bad:{factory}", "options": options or {}},
            "images": {"dataset": "photos10", "resolution": 16},
            "client": {"samples": 2},
            "attacks": [{"name": "gia-o", "init": "uniform", "descent": {"iterations": 2}}],
            "trials": 2,
        }
        (tmp_path / "audit.yaml").write_text(yaml.safe_dump(content | changes))
        return gradleak(
            "audit", tmp_path / "audit.yaml", "--out", tmp_path / "out", "--config", tmp_path / "config.yaml"
        )

    yield run
    sys.modules.pop("own_bad", None)


@pytest.mark.parametrize(("kind", "changes", "line"), REFUSED, ids=[row[0] for row in REFUSED])
def test_one_line_and_nothing_written(audit, tmp_path, kind, changes, line):
    ran = audit(options={"kind": kind}, **changes)
    assert ran.code == 2
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    assert ran.err.startswith("gradleak: model")
    assert line in ran.err
    assert not (tmp_path / "out").exists()


def test_what_is_raised_at_import_is_one_line(audit, tmp_path):
    for code, words in (
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        ("exit(3)", "SystemExit: 3"),
    ):
        sys.modules.pop("own_bad", None)
        (tmp_path / "own_bad.py").write_text(code)
        ran = audit()
        assert ran.code == 2
        assert f"importing 'own_bad' fails ({words}" in ran.err
        assert len(ran.err.strip().splitlines()) == 1


NOT_ATTACKED = [
    ("Net", {"kind": "rounds"}, "the objective has no derivative in the images"),
    ("Net", {"kind": "inference"}, "the objective has no derivative in the images"),
    ("dead", {}, "the update is zero"),
]


@pytest.mark.parametrize(("factory", "options", "reason"), NOT_ATTACKED)
def test_what_cannot_be_attacked_gets_no_verdict(audit, tmp_path, factory, options, reason):
    view = {"view": ["conv"]} if factory == "dead" else {}
    ran = audit(factory, options, attacks=[{"name": "gia-o", **view, "descent": {"iterations": 2}}])
    assert ran.code == 0, ran.err
    assert f"none: not attacked. There was nothing to attack: {reason}" in ran.out
    assert "no leak found" not in ran.out
    assert f"not attacked: 2 of 2 ({reason})" in (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert reason in (tmp_path / "out" / "table.csv").read_text()
