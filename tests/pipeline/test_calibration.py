"""`gradleak plan --calibrate`: two numbers from timed attacks."""

import pytest
from core_cases import gradleak

from gradleak.pipeline import calibration
from gradleak.pipeline.calibration import Problem, Timing, fitted
from gradleak.specs import ModelSpec
from gradleak.study.cost import Cost, Throughput, recorded_throughput

RECORDED = recorded_throughput()["cpu"]
COSTS = {"wide": Cost(3e10, 700), "narrow": Cost(1e8, 700), "between": Cost(2e9, 1900)}


def test_the_two_numbers_are_those_that_the_timings_have():
    true = Throughput(flops_per_s=7e10, start_s=4e-5, measured=True, what="a test")
    found = fitted([Timing(name, cost, true.seconds(cost)) for name, cost in COSTS.items()], RECORDED)
    assert (found.flops_per_s, found.start_s) == pytest.approx((7e10, 4e-5))
    assert found.measured


def test_timings_that_fit_no_two_numbers_give_positive_ones():
    seconds = {"wide": 1.0, "narrow": 1e-9, "between": 1.0}  # as if starts took less than no time
    found = fitted([Timing(name, COSTS[name], value) for name, value in seconds.items()], RECORDED)
    assert found.flops_per_s > 0
    assert found.start_s > 0


def test_calibrating_says_both_numbers_and_how_far_each_problem_is_off(tmp_path, monkeypatch):
    models = [ModelSpec(name="convnet", options={"channels": width, "stages": 1, "layers": 1}) for width in (2, 16)]
    monkeypatch.setattr(calibration, "PROBLEMS", [Problem(model, 1, {"cpu": 2, "cuda": 2}) for model in models])
    monkeypatch.setattr(calibration, "_SECONDS", 0.02)
    study = tmp_path / "mine.yaml"
    study.write_text(
        "title: T\ndefaults: {dataset: {name: photos10, resolution: 16}, attack: {name: gia-o}}\n"
        "experiments: {a: {title: A, paper: P, show: [], cells: [{}]}}\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text("device: cpu\n")
    ran = gradleak("plan", "--config", config, "--study", study, "--calibrate")
    assert ran.code == 0, ran.err
    assert "measured on this machine" in " ".join(ran.out.split())
    assert "flops_per_s" in ran.out
    assert "start_s" in ran.out
    assert ran.out.count("ms per iteration, estimated") == 2
