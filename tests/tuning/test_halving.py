"""Successive halving on invented scores: who goes on, who is told what, what is repeated."""

from math import ceil

import pytest
from tuning_cases import search_of

from gradleak.errors import UserError
from gradleak.tuning.halving import run_search

SPACE = {"descent.lr": {"low": 0.01, "high": 1.0, "log": True}}


class Scores:
    """Scores that depend on the rate and fall with the iterations; records who was asked for."""

    def __init__(self, fails=lambda lr: False):
        self.asked, self.iterations, self._fails = {}, {}, fails

    def __call__(self, step, attacks):
        self.asked[step] = sorted(attacks)
        self.iterations[step] = {attack.descent.iterations for attack in attacks.values()}
        return {
            number: None if self._fails(attack.descent.lr) else self.of(attack) for number, attack in attacks.items()
        }

    def of(self, attack):
        mean = abs(attack.descent.lr - 0.3) + 1 / attack.descent.iterations
        return [mean - 0.01, mean + 0.01]


def searched(tmp_path, scores, **changes):
    defaults = {"space": SPACE, "start": [{"descent.lr": 0.05}], "candidates": 6, "rungs": [0.25, 0.5, 1.0]}
    search = search_of(tmp_path, **defaults | changes)
    return run_search(search, scores)


def test_the_best_half_goes_on_with_more_iterations_and_the_best_is_never_dropped(tmp_path):
    scores = Scores()
    candidates = searched(tmp_path, scores)
    sizes = {step: len(numbers) for step, numbers in scores.asked.items()}
    assert sizes == {"generation 1, rung 1": 6, "generation 1, rung 2": 3, "generation 1, rung 3": 2}
    assert list(scores.iterations.values()) == [{4}, {8}, {16}]
    order = sorted(range(6), key=lambda number: candidates[number].lpips[0])
    assert scores.asked["generation 1, rung 2"] == sorted(order[:3])
    assert scores.asked["generation 1, rung 3"] == sorted(order[:2])
    assert [candidates[number].status for number in order] == ["complete"] * 2 + ["pruned"] * 4
    assert [len(candidates[number].lpips) for number in order] == [3, 3, 2, 1, 1, 1]
    lr = candidates[order[0]].settings["descent.lr"]
    assert candidates[order[0]].final == pytest.approx(abs(lr - 0.3) + 1 / 16)
    assert candidates[order[-1]].final == float("inf")


def test_start_settings_come_first_as_they_are_given(tmp_path):
    candidates = searched(tmp_path, Scores(), start=[{"descent.lr": 0.123456}, {}])
    assert [candidates[i].settings for i in (0, 1)] == [{"descent.lr": 0.123456}, {"descent.lr": 0.1}]
    assert len(candidates) == 6


def test_equal_searches_are_equal_and_another_seed_draws_others(tmp_path):
    first, again = (searched(tmp_path, Scores(), generations=2) for _ in range(2))
    assert first == again
    assert [item.generation for item in first] == [0] * 6 + [1] * 6
    other = searched(tmp_path, Scores(), generations=2, seed=4)
    assert [item.settings for item in other] != [item.settings for item in first]


def test_later_generations_learn_from_the_scores(tmp_path):
    changes = {"candidates": 12, "generations": 4, "start": []}
    candidates = searched(tmp_path, Scores(), **changes)

    def error(generation):
        found = [item.settings["descent.lr"] for item in candidates if item.generation == generation]
        return sum(abs(lr - 0.3) for lr in found) / len(found)

    assert error(3) < 0.7 * error(0)


def test_candidates_that_fail_are_out_and_the_search_goes_on(tmp_path):
    scores = Scores(fails=lambda lr: lr > 0.2)
    candidates = searched(tmp_path, scores, candidates=12, generations=2)
    failed = [item for item in candidates if item.settings["descent.lr"] > 0.2]
    assert 0 < len(failed) < len(candidates)
    assert all(item.status == "failed" and item.lpips == [None] for item in failed)
    fine = [item for item in candidates if item.generation == 0 and item not in failed]
    assert len(scores.asked["generation 1, rung 2"]) == ceil(len(fine) / 2)
    assert {item.status for item in fine} == {"complete", "pruned"}
    assert min(item.final for item in candidates) < 1


def test_a_search_in_which_all_fail_says_so(tmp_path):
    with pytest.raises(UserError, match="every candidate stopped being finite"):
        searched(tmp_path, Scores(fails=lambda lr: True), generations=2)


@pytest.mark.parametrize(
    ("keep", "finished", "going"), [(0.5, 5, 3), (0.5, 1, 1), (0.1, 4, 1), (0.28, 25, 7), (1.0, 4, 4)]
)
def test_the_number_of_survivors_is_rounded_up(tmp_path, keep, finished, going):
    assert search_of(tmp_path, keep=keep).survivors(finished) == going
