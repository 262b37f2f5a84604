"""Snakemake killed hard in the middle of a job, which goes on alone: nothing is lost, and the bytes are equal."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from test_workflow import checkout  # noqa: F401  # the fixture

STUDY = """
title: One cell
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 1, layers: 1}}
  client: {samples: 2, lr: 0.1}
  attack: {name: gia-o, descent: {iterations: 150}}
experiments:
  one: {title: One, paper: None, show: [], cells: [{}]}
"""


@pytest.mark.slow
def test_a_killed_driver_leaves_a_lock_and_after_it_the_run_goes_on(checkout):  # noqa: F811
    place = checkout("killed")
    (place.folder / "one.yaml").write_text(STUDY)
    settings = {"study": "one.yaml", "cache": str(place.cache), "jobs": {"save_every_s": 0}}
    (place.folder / "config.yaml").write_text(yaml.safe_dump(settings))
    gradleak = (sys.executable, "-m", "gradleak")
    planned = place.run(*gradleak, "plan", "--out", "plan.json")
    assert planned.returncode == 0, planned.stderr
    (batch,) = json.loads((place.folder / "plan.json").read_text())["batches"]
    result = place.folder / f"results/one/reconstructions/{batch}.safetensors"
    command = ["snakemake", "--profile", "workflow/profiles/default", "--cores", "1"]
    command.append(str(result.relative_to(place.folder)))

    driver = subprocess.Popen(command, cwd=place.folder, env=place.env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not list(result.parent.glob("*.state/*/*.safetensors")):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()

    locked = place.run(*command)
    assert locked.returncode != 0
    assert "cannot be locked" in locked.stderr
    assert "Traceback" not in locked.stderr
    assert os.listdir(place.folder / ".snakemake/locks")  # what the Makefile looks for: see tests/test_make.py
    assert place.run("snakemake", "--unlock").returncode == 0

    again = place.run(*command)
    assert again.returncode == 0, again.stderr[-3000:]
    said = [line.split("] ")[-1] for line in again.stderr.splitlines()]
    assert said.count("1 of 1 jobs are done") == 1
    log = place.folder / next(line for line in said if ".snakemake/log" in line).split(": ")[1]
    assert "rule reconstruct_batch:" in log.read_text()
    assert "rule reconstruct_batch:" not in again.stderr
    found = result.read_bytes()
    result.unlink()
    unbroken = place.run(*command)
    assert unbroken.returncode == 0, unbroken.stderr[-3000:]
    assert result.read_bytes() == found
