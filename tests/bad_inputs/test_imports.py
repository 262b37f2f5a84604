"""What `model.import` of an audit's file may reach: modules beside it, and packages that the command line names."""

import sys
from pathlib import Path

import pytest
from core_cases import gradleak

NET = "from os import system\nimport os\nfrom functools import partial\nfrom torch.nn import Identity\nNAMES = ['a']\n"

# What the file names, and the line that follows `model.import: `; the folder holds own_bad.py, torch.py and a link.
ROWS = {
    "os:system": (
        "'os' is no module beside the audit's file; if you trust it, call `gradleak audit` with --allow-import os"
    ),
    "subprocess:run": "'subprocess' is no module beside the audit's file; ...",
    "builtins:exec": "'builtins' is no module beside the audit's file; ...",
    "json:loads": "'json' is no module beside the audit's file; ...",
    "torchvision.models:resnet18": "'torchvision.models' is no module beside the audit's file; ...",
    "linked:Net": "'linked' is no module beside the audit's file; ...",
    "nosuch:Net": "'nosuch' is no module beside the audit's file; ...",
    "torch:load": "'torch' beside the audit's file has the name of a package that is installed; rename it",
    "own_bad:system": "'own_bad:system' is of Python itself; name a class or function of a model",
    "own_bad:os.system": "'os.system' goes through another module; name its own class or function",
    "own_bad:NAMES": "'own_bad:NAMES' is no class or function",
}


@pytest.mark.parametrize("name", ROWS)
def test_it_reaches_nothing_else(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delitem(sys.modules, "own_bad", raising=False)
    folder = tmp_path / "audit"
    folder.mkdir()
    for module in ("own_bad", "torch", "json"):
        (folder / f"{module}.py").write_text(NET)
    (tmp_path / "linked.py").write_text(NET)
    (folder / "linked.py").symlink_to(tmp_path / "linked.py")
    (folder / "config.yaml").write_text(f"{{device: cpu, cache: {cache}}}\n")
    mark = tmp_path / "mark"
    (folder / "audit.yaml").write_text(
        f"model: {{import: '{name}', options: {{command: 'touch {mark}'}}}}\n"
        "images: {dataset: photos10, resolution: 16}\ntrials: 1\n"
    )
    ran = gradleak("audit", folder / "audit.yaml", "--out", folder / "out", "--config", folder / "config.yaml")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    line = ROWS[name]
    found = ran.err.removeprefix("gradleak: model.import: ").rstrip("\n")
    assert found.startswith(line.removesuffix("...")) if line.endswith("...") else found == line
    assert not mark.exists()


def test_a_package_that_is_named_is_reached(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"{{device: cpu, cache: {cache}}}\n")
    (tmp_path / "audit.yaml").write_text(
        "model: {import: 'torch.nn:Identity', options: {}}\nimages: {dataset: photos10, resolution: 16}\ntrials: 1\n"
    )
    common = ("audit", tmp_path / "audit.yaml", "--out", tmp_path / "out", "--config", tmp_path / "config.yaml")
    assert "is no module beside the audit's file" in gradleak(*common).err
    ran = gradleak(*common, "--allow-import", "torch")  # an identity is no classifier, which is another line
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "--allow-import" not in ran.err
