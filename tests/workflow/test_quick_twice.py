"""The whole study `quick`, by `make`, in two folders at the same time: all that it writes has the same bytes.

All but `report.html`, which holds run times and provenance.

Takes minutes on all cores, so that it runs by `make twice` alone.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "Makefile", "config.yaml", "pyproject.toml", "workflow", "envs", "src")


def fresh(folder: Path, cache: Path) -> Path:
    """A copy of what a checkout needs, which uses this checkout's environment and a filled cache of downloads."""
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(ROOT / part, folder / part)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / ".cache").mkdir()
    (folder / ".cache/gradleak").symlink_to(cache)
    return folder


def make(folder: Path, log: Path, *targets: str) -> subprocess.Popen[bytes]:
    """Start `make` in a folder with half of the cores."""
    cores = max(1, (os.cpu_count() or 2) // 2)
    around = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make twice`
    environment = around | {"PYTHONPATH": str(folder / "src"), "XDG_CACHE_HOME": str(folder / ".xdg")}
    with log.open("wb") as file:
        command = ["make", f"CORES={cores}", *targets]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)


def written(folder: Path) -> dict[str, bytes]:
    """All results, weights, tables, figures and claims by their paths in the folder."""
    results = folder / "results"
    files = [*results.rglob("*.parquet"), *results.rglob("*.safetensors"), *(folder / "paper_figures").rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


@pytest.mark.twice
def test_quick_has_the_same_bytes_in_two_folders_and_is_done_then(tmp_path, cache):
    folders = [fresh(tmp_path / name, cache) for name in ("first", "second")]
    logs = [tmp_path / f"{folder.name}.log" for folder in folders]
    runs = [make(folder, log) for folder, log in zip(folders, logs, strict=True)]
    for run, log in zip(runs, logs, strict=True):
        assert run.wait() == 0, log.read_text()[-3000:]
    first, second = map(written, folders)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    kinds = {Path(name).suffix for name in first}
    assert {".parquet", ".safetensors", ".csv", ".tex", ".pdf", ".png"} <= kinds
    assert {"paper_figures/quick/claims.csv", "results/quick/results.parquet"} <= first.keys()
    captions = {name: content for name, content in first.items() if Path(name).suffix in (".txt", ".tex")}
    assert any(b"Bars: mean" in content for content in captions.values())
    assert [
        name for name, content in captions.items() if b"is not reconstructed" in content
    ] == []  # no figure of noise
    print(f"{len(first)} files of {sum(map(len, first.values())) / 1e6:.1f} MB have the same bytes")

    assert (folders[0] / "results/quick/report.html").read_text().startswith("<!DOCTYPE html>")
    said = logs[0].read_text()
    assert "experiment table1 is finished (" in said
    assert said.index(" jobs are done") < said.index("strongest finding")

    for targets in ([], ["report"]):
        again = make(folders[0], logs[0], *targets)
        assert again.wait() == 0
        assert "Nothing to be done" in logs[0].read_text()
        assert ("strongest finding" in logs[0].read_text()) == (targets == [])
