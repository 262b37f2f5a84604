"""A folder in which commands from the pages run: what a checkout and a finished study hold, in small."""

import contextlib
import io
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import yaml
from core_cases import Ran, gradleak
from pages import ROOT
from PIL import Image
from report_cases import write_reported
from small import SEARCH, STUDY

from gradleak.metrics.backbone import WEIGHTS


class Place:
    """A folder with what a checkout and a finished study hold: searches and studies are small ones."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "workflow", folder / "workflow")
        (folder / "envs").mkdir()
        for name in ("Makefile", "pyproject.toml", "envs/requirements.txt"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "slurm").symlink_to((ROOT / "slurm").readlink())
        for path in (folder / "workflow/searches").glob("*.yaml"):
            path.write_text(SEARCH)
        for path in (folder / "workflow/studies").glob("*.yaml"):
            path.write_text(STUDY)
        settings = {"device": "cpu", "cache": str(cache), "jobs": {"minutes": 60}}
        for name in ("config.yaml", "CONFIG"):  # CONFIG stands for a config of the reader's, with a data set of theirs
            (folder / name).write_text(yaml.safe_dump(settings))
        for name in ("ref.png", "rec.png"):
            Image.new("RGB", (32, 32), (90, 120, 30)).save(folder / name)
        (folder / ".cache/gradleak").mkdir(parents=True)  # where commands look that name no config
        (folder / ".cache/gradleak" / WEIGHTS).symlink_to(cache / WEIGHTS)
        (folder / "results/quick").mkdir(parents=True)
        write_reported(folder / "results/quick", folder / "mine.yaml")

    def gradleak(self, *arguments: str) -> Ran:
        """Run the command line; a `>` sends what it prints to a file."""
        typed, _, (*file,) = split_at(arguments, ">")
        ran = gradleak(*typed)
        assert ran.code == 0, ran.err
        if file:
            Path(file[0]).write_text(ran.out)
        return ran

    def script(self, path: str, *arguments: str) -> str:
        """Run a script of the checkout in this process; returns what it prints."""
        return printed(lambda: runpy.run_path(str(ROOT / path), run_name="__main__"), path, *arguments)


def split_at(found: tuple[str, ...], word: str) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """As `str.partition`, of words."""
    return (found, "", ()) if word not in found else (found[: found.index(word)], word, found[found.index(word) + 1 :])


def printed(call: Callable[[], object], *argv: str) -> str:
    out, before = io.StringIO(), (sys.argv, sys.path[:])
    sys.argv, sys.path[:] = list(argv), [str(ROOT / Path(argv[0]).parent), *sys.path]
    try:
        with contextlib.redirect_stdout(out):
            call()
    finally:
        sys.argv, sys.path[:] = before
    return out.getvalue()
