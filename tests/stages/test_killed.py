"""Every stage, killed or out of disk space again and again: what is done stays, and the bytes are equal in the end.

It happens at the first write of the first run, at the second of the second, and so on, until a run comes to its end:
between writing a file and giving it its name, the moment that leaves most behind.
"""

import errno
import itertools
import os
import signal

import pytest
from core_cases import gradleak

from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.planning import make_plan

STUDY = """
title: All stages
defaults:
  dataset: {name: photos10, resolution: 16}
  model:
    name: convnet
    options: {channels: 4, stages: 1, layers: 1}
    training: {clients: 2, rounds: 2, epochs: 1, batch_size: 16, lr: 0.05, images: 40, evaluate: 40}
    round: 2
  client: {samples: 2, lr: 0.1}
  smoothness: {method: finite, samples: 2}
  knowledge_level: 3
  attack:
    name: gia-l
    restarts: 2
    generator: {name: dcgan, dataset: {name: photos10, resolution: 16}, channels: 4, steps: 3, batch_size: 4}
    latent: {method: gradient, descent: {iterations: 3}}
    weights: {iterations: 2}
experiments:
  one: {title: One, paper: None, show: [], cells: [{}]}
trials: {count: 2}
"""


class Place:
    """A folder with the plan, and the commands of its stages in order."""

    def __init__(self, folder, cache):
        self.folder = folder
        (folder / "all.yaml").write_text(STUDY)
        config = Config.parse({"device": "cpu", "cache": str(cache), "jobs": {"save_every_s": 0}}, "here")
        plan = make_plan(load_study(folder / "all.yaml"), config)
        plan.write(folder / "plan.json")
        (batch,), (training,), (auxiliary,) = plan.batches, plan.trainings, plan.auxiliaries
        on = ["--plan", folder / "plan.json"]
        of, read = [*on, "--batch", batch], ["--checkpoints", folder / "checkpoints"]
        out = {name: folder / f"{name}.safetensors" for name in ("updates", "reconstructions")}
        table = {name: folder / f"{name}/{batch}.parquet" for name in ("smoothness", "shards", "images")}
        attack = ["--auxiliaries", folder / "auxiliary", "--updates", out["updates"], "--out", out["reconstructions"]]
        found = ["--reconstructions", out["reconstructions"], "--out", table["shards"], "--images", table["images"]]
        accuracy, weights = folder / f"trainings/{training}.parquet", folder / f"auxiliary/{auxiliary}.safetensors"
        joined = ["--smoothness", folder / "smoothness", "--trainings", folder / "trainings", table["shards"]]
        self.commands = {
            "federate": ["federate", *on, "--training", training, *read, "--out", accuracy],
            "pretrain": ["pretrain", "run", *on, "--auxiliary", auxiliary, "--out", weights],
            "update": ["update", *of, *read, "--out", out["updates"]],
            "smoothness": ["smoothness", *of, *read, "--out", table["smoothness"]],
            "reconstruct": ["reconstruct", *of, *read, *attack],
            "score": ["score", *of, *found],
            "collect": ["collect", *on, *joined, "--out", folder / "results.parquet"],
        }

    def results(self):
        """Bytes by path of all that does not tell time and place, but for what a killed process left."""
        files = [path for path in self.folder.rglob("*") if path.suffix in (".parquet", ".safetensors")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, cache):
    place = Place(tmp_path_factory.mktemp("unbroken"), cache)
    for command in place.commands.values():
        ran = gradleak(*command)
        assert ran.code == 0, ran.err
    return place.results()


def killed(command, write):
    """Run a command in a process of its own that is killed at a write. Returns whether it came to its end."""
    child = os.fork()
    if child == 0:
        write.fate = lambda: os.kill(os.getpid(), signal.SIGKILL)
        os._exit(gradleak(*command).code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def full(command, write):
    """Run a command that finds the disk full at a write, which it says in one line."""

    def fate():
        raise OSError(errno.ENOSPC, "of this test")

    write.fate = fate
    ran = gradleak(*command)
    if ran.code:
        assert ran.code == 2
        last = ran.err.splitlines()[-1]
        assert "cannot be written (No space left on device); free some space and run the same command again" in last
        assert "Traceback" not in ran.err
    return ran.code == 0


class Write:
    """`os.replace` that meets its fate at the n-th call."""

    def __init__(self, number, replace):
        self.left, self.replace, self.fate = number, replace, None

    def __call__(self, source, target):
        self.left -= 1
        if self.left == 0:
            self.fate()
        self.replace(source, target)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [killed, full])
def test_what_is_broken_off_goes_on_and_gives_the_bytes_of_an_unbroken_run(
    unbroken, tmp_path, cache, monkeypatch, broken
):
    place = Place(tmp_path, cache)
    replace, times = os.replace, {}
    for name, command in place.commands.items():
        for number in itertools.count(1):
            write = Write(number, replace)
            monkeypatch.setattr(os, "replace", write)
            if broken(command, write):
                break
        times[name] = number - 1
    assert place.results() == unbroken
    assert all(times.values())
    hidden = {path.suffix for path in place.folder.rglob(".*")}
    assert hidden == ({".part"} if broken is killed else set())
