"""Processes on a machine with several GPUs: each has one, and none has another's."""

import os
import subprocess
import sys

import pytest

from gradleak.engine import gpus
from gradleak.errors import UserError

PROGRAM = """
import os, sys
from gradleak.engine.gpus import claim_gpu
claim_gpu(lambda line: print(line, flush=True))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a process which claims one of GPUs 4 and 7 and keeps it."""
    running = []

    def begin():
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "4, 7", "TMPDIR": str(tmp_path)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, **pipes))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def test_each_process_has_its_own_gpu_and_a_dead_ones_is_free(start):
    first, second = start(), start()
    held = {process: process.stdout.readline().strip() for process in (first, second)}
    assert sorted(held.values()) == ["4", "7"]
    third = start()
    assert third.stdout.readline().strip() == "all of GPUs 4, 7 are in use; waiting for one"
    second.kill()
    assert third.stdout.readline().strip() == held[second]


@pytest.mark.parametrize("visible", ["3", "", "GPU-8f2a"])
def test_where_there_is_no_choice_nothing_is_claimed(visible, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    gpus.claim_gpu(pytest.fail)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert not list(tmp_path.iterdir())


def test_a_folder_of_locks_that_leads_elsewhere_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"gradleak-gpus-{os.getuid()}").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(gpus.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError, match="is not a folder of this user's; remove it, or set TMPDIR"):
        gpus.claim_gpu(print)
    assert not list((tmp_path / "theirs").iterdir())
