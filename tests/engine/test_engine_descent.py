"""The optimisation loop: rates, box, patience, best iterate, failure, resuming, and trials that never mix."""

import math

import pytest
import torch
from auxiliary_cases import Killed, killing
from core_cases import images_of, model_of, no_priors, problem_of
from reference_matcher import ReferenceMatcher

from gradleak.attacks.gia_o import ImageSpace
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Evaluation, Targets
from gradleak.engine.descent import Descent, DescentConfig, Diverged
from gradleak.objectives.base import OBJECTIVES
from gradleak.priors.base import WeightedPriors
from gradleak.resume import StateFile
from gradleak.stopping import Stopped


@pytest.fixture
def called(monkeypatch):
    """Every iteration calls the matcher: tables and watches are in Python, which no recording sees."""
    monkeypatch.setattr("gradleak.engine.descent.captured", lambda step, state, device: step)


class Plain:
    """Variables are the candidates; the box is [0, 1]."""

    def decode(self, variables):
        return variables * 1.0

    def project(self, variables):
        return variables.clamp(0, 1)


class Scripted:
    """Objectives from a table, one row per call; a gradient of `slope` everywhere. Remembers what it was asked."""

    def __init__(self, table, slope=1.0):
        self.table, self.slope, self.seen = table, slope, []

    def __call__(self, images, priors):
        row = self.table[min(len(self.seen), len(self.table) - 1)]
        self.seen.append(images.clone())
        objective = torch.tensor(row, dtype=torch.float64)
        return Evaluation(objective, torch.zeros_like(objective), torch.full_like(images, self.slope))


class Bowl:
    """|images - target|^2 per trial."""

    def __init__(self, target):
        self.target = target

    def __call__(self, images, priors):
        difference = images - self.target
        value = difference.flatten(1).square().sum(dim=1).double()
        return Evaluation(value, torch.zeros_like(value), 2 * difference)


def start_of(trials, value=0.5):
    return torch.full((trials, 1, 3, 2, 2), value, dtype=torch.float64)


def config_of(**settings):
    return DescentConfig(**{"schedule": "constant", "signed": False, "box": False, **settings})


def scripted(rows, **settings):
    matcher = Scripted(rows)
    descent = Descent(start_of(len(rows[0])), Plain(), matcher, no_priors, config_of(**settings))
    return descent, matcher


def test_rates_of_the_schedules():
    rates = {
        schedule: [DescentConfig(iterations=16, lr=0.2, schedule=schedule).rate(i) for i in range(16)]
        for schedule in ("constant", "step", "cosine")
    }
    assert rates["constant"] == [0.2] * 16
    assert rates["step"] == pytest.approx([0.2] * 6 + [0.02] * 4 + [0.002] * 4 + [0.0002] * 2)
    assert rates["cosine"] == pytest.approx([0.1 * (1 + math.cos(math.pi * i / 16)) for i in range(16)])
    assert rates["cosine"][0] == pytest.approx(0.2)
    assert rates["cosine"][8] == pytest.approx(0.1)


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_each_iteration_moves_by_its_rate_under_a_constant_gradient(schedule):
    descent, matcher = scripted([[1.0]], iterations=16, lr=0.2, schedule=schedule)
    descent.run()
    seen = torch.stack([images.flatten()[0] for images in matcher.seen])
    expected = [DescentConfig(iterations=16, lr=0.2, schedule=schedule).rate(i) for i in range(15)]
    assert torch.allclose(seen[:-1] - seen[1:], torch.tensor(expected, dtype=torch.float64), rtol=1e-6)


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("signed", [False, True])
def test_the_optimiser_is_adam_on_the_gradient_or_its_sign(signed):
    target = images_of(2, 1, resolution=4, seed=1)
    start = images_of(2, 1, resolution=4, seed=2)
    matcher = Bowl(target)
    recorded = []

    def watch(images, priors):
        recorded.append(images.clone())
        return matcher(images, priors)

    Descent(start, Plain(), watch, no_priors, config_of(iterations=40, lr=0.05, signed=signed)).run()
    leaf = start.clone().requires_grad_()
    adam = torch.optim.Adam([leaf], lr=0.05)
    for images in recorded:
        assert torch.allclose(images, leaf.detach(), rtol=0, atol=1e-12)
        gradient = 2 * (leaf.detach() - target)
        leaf.grad = gradient.sign() if signed else gradient
        adam.step()
    assert len(recorded) == 40


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("box", [True, False])
def test_box_keeps_every_pixel_between_0_and_1(box):
    space = ImageSpace(model_of("convnet", channels=2, stages=1, layers=1))
    target = 0.5 + 3 * (images_of(2, 1, resolution=4) - 0.5)  # most of it outside
    seen = []

    def watch(images, priors):
        seen.append(images)
        return Bowl(target)(images, priors)

    start = space.project(torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    outcome = Descent(
        start, space, watch, no_priors, config_of(iterations=150, lr=0.3, schedule="cosine", box=box)
    ).run()
    final = space.decode(outcome.variables)
    inside = (torch.stack(seen) >= -1e-12).all() and (torch.stack(seen) <= 1 + 1e-12).all()
    assert bool(inside) == box
    if box:
        assert torch.allclose(final, target.clamp(0, 1), atol=0.02)
    else:
        assert (final - target).abs().max() < 0.1


@pytest.mark.usefixtures("called")
def test_the_best_iterate_by_objective_is_returned_per_trial():
    rows = [[5.0, 9.0], [3.0, 8.0], [4.0, 7.0], [6.0, 9.0], [3.5, 8.0]]
    descent, matcher = scripted(rows, iterations=5, lr=0.01)
    outcome = descent.run()
    assert outcome.objective.tolist() == [3.0, 7.0]
    assert torch.equal(outcome.variables[0], matcher.seen[1][0])
    assert torch.equal(outcome.variables[1], matcher.seen[2][1])
    assert outcome.iterations.tolist() == [5, 5]


@pytest.mark.usefixtures("called")
def test_priors_count_towards_the_best_iterate():
    class WithPrior(Scripted):
        def __call__(self, images, priors):
            found = super().__call__(images, priors)
            return Evaluation(found.objective, torch.tensor([[0.0], [9.0]][len(self.seen) == 2]), found.gradient)

    matcher = WithPrior([[5.0], [1.0], [4.0]])
    outcome = Descent(start_of(1), Plain(), matcher, no_priors, config_of(iterations=3)).run()
    assert outcome.objective.tolist() == [4.0]
    assert torch.equal(outcome.variables[0], matcher.seen[2][0])


@pytest.mark.usefixtures("called")
def test_patience_stops_a_trial_and_leaves_the_others():
    # Trial 0 improves until its fifth call (4), then never; trial 1 improves always.
    rows = [[float(max(10 - i, 6)), 100.0 - i] for i in range(60)]
    descent, matcher = scripted(rows, iterations=60, lr=0.01, patience=7)
    outcome = descent.run()
    assert outcome.iterations.tolist() == [12, 60]
    assert outcome.objective.tolist() == [6.0, 41.0]
    moved = [not torch.equal(a[0], b[0]) for a, b in zip(matcher.seen, matcher.seen[1:], strict=False)]
    assert moved == [True] * 12 + [False] * 47
    assert all(not torch.equal(a[1], b[1]) for a, b in zip(matcher.seen, matcher.seen[1:], strict=False))


@pytest.mark.usefixtures("called")
def test_the_run_ends_early_when_every_trial_has_stopped():
    descent, matcher = scripted([[1.0, 2.0]], iterations=1000, patience=5)
    outcome = descent.run()
    assert outcome.iterations.tolist() == [6, 6]
    assert len(matcher.seen) < 100


@pytest.mark.usefixtures("called")
def test_an_improvement_below_the_threshold_does_not_count_against_patience():
    rows = [[1.0 - 1e-6 * i] for i in range(40)]
    descent, _ = scripted(rows, iterations=40, patience=5)
    outcome = descent.run()
    assert outcome.iterations.tolist() == [6]
    assert outcome.objective.tolist() == [rows[5][0]]


@pytest.mark.usefixtures("called")
def test_a_stopped_trial_stays_stopped_though_its_last_move_was_an_improvement():
    # No gain for three iterations stops trial 0 after its fourth; where its last move led would be better. Trial 1
    # goes on; what trial 0 does must not depend on that, and alone it ends where the loop looks.
    first = [5.0] * 4 + [1.0] * 36
    descent, _ = scripted([[value, 50.0 - i] for i, value in enumerate(first)], iterations=40, patience=3)
    outcome = descent.run()
    assert outcome.iterations.tolist() == [4, 40]
    assert outcome.objective.tolist() == [5.0, 11.0]


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_fails_the_run_and_names_the_trial(value):
    rows = [[1.0, 2.0, 3.0]] * 30
    rows[4] = [1.0, value, 3.0]
    descent, matcher = scripted(rows, iterations=1000)
    with pytest.raises(Diverged, match=r"objective of trial 1 is not a finite number"):
        descent.run()
    assert len(matcher.seen) < 100


def test_a_prior_that_is_not_finite_fails_the_run():
    class BadPrior(Bowl):
        def __call__(self, images, priors):
            found = super().__call__(images, priors)
            return Evaluation(found.objective, torch.tensor([math.nan]), found.gradient)

    with pytest.raises(Diverged, match="trial 0"):
        Descent(start_of(1), Plain(), BadPrior(start_of(1, 0.1)), no_priors, config_of(iterations=3)).run()


# Real attacks: trials together, alone, and killed half way.


def attack_of(problem, iterations=50, matcher=ActivationMatcher, trials=slice(None), **settings):
    targets = Targets(
        {name: value[trials] for name, value in problem.targets.update.items()},
        problem.targets.labels[trials],
        problem.targets.norm2[trials],
    )
    space = ImageSpace(problem.model)
    start = space.project((problem.candidates[trials] - space._mean) / space._std)
    priors = WeightedPriors({"tv": 0.01}, problem.updates[trials])
    settings = {"lr": 0.1, "schedule": "cosine", "signed": True, "iterations": iterations, **settings}
    evaluate = matcher(problem.model, targets, OBJECTIVES["cosine"])
    return Descent(start, space, evaluate, priors, DescentConfig(**settings))


@pytest.fixture(scope="module")
def problem():
    return problem_of(model_of("convnet", channels=4, stages=2, layers=1, norm=True), 3, 2)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"signed": False},
        {"patience": 8, "lr": 0.5, "schedule": "cosine"},
        {"patience": 6, "lr": 0.3, "schedule": "step"},
    ],
)
def test_trials_at_once_reach_what_each_reaches_alone_with_the_reference(problem, settings):
    together = attack_of(problem, **settings).run()
    first = attack_of(problem, iterations=1).run()
    assert (together.objective < 0.5 * first.objective).all()
    for trial in range(3):
        part = slice(trial, trial + 1)
        for matcher in (ReferenceMatcher, ActivationMatcher):
            alone = attack_of(problem, matcher=matcher, trials=part, **settings).run()
            assert float(together.objective[trial]) == pytest.approx(float(alone.objective[0]), rel=1e-4)
            assert int(together.iterations[trial]) == int(alone.iterations[0])


def fields(outcome):
    return [outcome.variables, outcome.objective, outcome.iterations]


@pytest.mark.parametrize("kills", [(45,), (1,), (25, 47, 45)])
@pytest.mark.parametrize("settings", [{}, {"patience": 8, "lr": 0.5, "schedule": "cosine"}])
def test_a_killed_and_resumed_run_gives_the_same_bytes(problem, tmp_path, kills, settings):
    whole = attack_of(problem, **settings)
    expected = fields(whole.run(StateFile(tmp_path / "whole", "same", 0.0)))
    path = tmp_path / "killed"
    saved = 0
    for kill in kills:
        store = StateFile(path, "same", 0.0)
        with pytest.raises(Killed):
            attack_of(problem, **settings).run(store, killing(kill))
        saved = kill // 20 * 20
        assert path.exists() == (saved > 0)
    counted = []
    resumed = attack_of(problem, **settings)
    found = fields(resumed.run(StateFile(path, "same", 0.0), counted.append))
    assert counted[0] == saved
    assert sum(counted) == whole.iteration
    for a, b in zip(found, expected, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    # A finished run that is asked again computes nothing and answers the same.
    again = attack_of(problem, **settings)
    again._step = None
    for a, b in zip(fields(again.run(StateFile(path, "same", 0.0))), expected, strict=True):
        assert torch.equal(a, b)


def test_a_run_that_is_asked_to_end_saves_at_any_iteration_and_gives_the_same_bytes(problem, tmp_path):
    whole = attack_of(problem)
    expected = fields(whole.run())
    for asked in (1, 33):
        path, counted = tmp_path / str(asked), []
        store = StateFile(path, "same", 1e9, lambda counted=counted, asked=asked: sum(counted) >= asked)
        with pytest.raises(Stopped, match=f"saved at iteration {asked}$"):
            attack_of(problem).run(store, counted.append)
        more = []
        found = fields(attack_of(problem).run(StateFile(path, "same", 1e9), more.append))
        assert more[0] == asked
        assert sum(more) == whole.iteration
        for a, b in zip(found, expected, strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


def test_a_state_file_of_another_identity_is_ignored(problem, tmp_path):
    path = tmp_path / "state"
    with pytest.raises(Killed):
        attack_of(problem, lr=0.02).run(StateFile(path, "other", 0.0), killing(45))
    assert path.exists()
    counted = []
    found = attack_of(problem).run(StateFile(path, "this", 0.0), counted.append)
    assert counted[0] == 0
    assert sum(counted) == 50
    for a, b in zip(fields(found), fields(attack_of(problem).run()), strict=True):
        assert torch.equal(a, b)


def test_a_state_is_saved_no_more_often_than_asked(problem, tmp_path):
    with pytest.raises(Killed):
        attack_of(problem).run(StateFile(tmp_path / "state", "same", 3600.0), killing(45))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "value"), [("iterations", 0), ("lr", 0), ("schedule", "linear"), ("patience", 0)])
def test_settings_out_of_range_are_refused(key, value):
    with pytest.raises(ValueError, match=key):
        DescentConfig(**{key: value})
