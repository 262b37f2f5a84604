"""Search files: the space, shortened attacks, and one clear line for each mistake."""

import optuna
import pytest
from tuning_cases import search_of

from gradleak.errors import UserError
from gradleak.tuning.space import Choice, Range


def trial(seed=0):
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


def test_drawn_numbers_have_three_digits_and_stay_in_their_range():
    dimension = Range(low=0.12344, high=0.12346)
    assert {dimension.draw(trial(seed), "x") for seed in range(5)} == {0.12344}
    wide = [Range(low=1e-4, high=1.0, log=True).draw(trial(seed), "x") for seed in range(40)]
    assert all(value == float(f"{value:.3g}") for value in wide)
    assert sum(value < 0.01 for value in wide) in range(10, 31)
    whole = {Range(low=1, high=3, whole=True).draw(trial(seed), "x") for seed in range(30)}
    assert whole == {1, 2, 3}
    assert all(isinstance(value, int) for value in whole)


def test_a_choice_may_hold_anything_and_tells_true_from_one():
    dimension = Choice(choice=[True, 1, {"tv": 0.1}, None])
    assert [dimension.parameter(value) for value in (True, 1, {"tv": 0.1}, None)] == [0, 1, 2, 3]
    assert not dimension.allows(False)
    assert not dimension.allows(0)
    drawn = [dimension.draw(trial(seed), "x") for seed in range(30)]
    assert all(any(value is known for known in dimension.choice) for value in drawn)
    assert {str(value) for value in drawn} == {"True", "1", "{'tv': 0.1}", "None"}


def test_start_settings_take_from_the_cell_what_they_leave_out(tmp_path):
    first, second = search_of(tmp_path).start
    assert first == {"descent.lr": 1e-5, "priors.tv": 0.001}
    assert second == {"descent.lr": 0.1, "priors.tv": 0.001}


def test_a_share_of_the_iterations_is_at_least_one_and_changes_nothing_else(tmp_path):
    search = search_of(tmp_path)
    settings = {"descent.lr": 1e-5, "priors.tv": 0.002}
    full, half = search.attack(settings), search.attack(settings, 0.5)
    assert (full.descent.iterations, half.descent.iterations) == (16, 8)
    assert search.attack(settings, 0.001).descent.iterations == 1
    assert full.descent.lr == 1e-5
    assert full.priors == {"tv": 0.002}
    assert half.model_copy(update={"descent": full.descent}) == full


def test_every_stage_of_an_attack_is_shortened(tmp_path):
    attack = {
        "name": "gia-l",
        "generator": {"name": "dcgan", "dataset": {"name": "photos10", "resolution": 16}, "steps": 10},
        "latent": {"method": "gradient", "descent": {"iterations": 40}},
        "weights": {"iterations": 100},
    }
    changes = {"cell__attack": attack, "cell__knowledge_level": 2, "start": None}
    space = {"latent.descent.lr": {"low": 0.01, "high": 0.1}}
    half = search_of(tmp_path, space=space, **changes).attack({"latent.descent.lr": 0.05}, 0.5)
    assert (half.latent.descent.iterations, half.weights.iterations) == (20, 50)
    attack |= {"latent": {"method": "cma-es", "generations": 9}, "weights": None}
    half = search_of(tmp_path, space={"latent.sigma": {"low": 0.1, "high": 1.0}}, **changes).attack({}, 0.5)
    assert (half.latent.generations, half.weights) == (4, None)
    assert half.generator.steps == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spaces": {}}, "spaces: unknown key"),
        ({"space": {}}, "space: .*at least 1"),
        ({"space__init": {"choice": []}}, "space.init.choice: .*at least 1"),
        (
            {"space__init": {"choice": ["normal", "zero"]}},
            "space .*'init': 'zero'.*init: .*'normal', 'uniform' or 'grey'",
        ),
        ({"space__descent.rate": {"low": 0.1, "high": 0.2}}, "descent.rate: unknown key"),
        ({"space__descent.lr": {"low": 0.2, "high": 0.1}}, "space.descent.lr: high is 0.1, it must be above low .0.2"),
        ({"space__descent.lr": {"low": 0, "high": 0.1, "log": True}}, "low is 0, it must be above 0 where log is true"),
        ({"space__restarts": {"low": 1, "high": 2.5, "whole": True}}, "1 and 2.5, must be whole where whole is true"),
        ({"space__priors": {"choice": [{}]}}, "'priors.tv' is inside 'priors'; name one of them"),
        ({"space__knowledge": {"choice": ["bst"]}}, "'knowledge' says what the adversary is or knows"),
        ({"space__priors.bn": {"low": 0.1, "high": 1}}, "needs knowledge level 4, but knowledge_level grants 1"),
        ({"rungs": [0.5]}, r"rungs must rise from above 0 to 1.0, found \[0.5\]"),
        ({"rungs": [0.5, 0.5, 1.0]}, "rungs must rise"),
        ({"rungs": []}, "rungs must rise"),
        ({"keep": 0}, "keep: .*greater than 0 .found 0"),
        ({"candidates": 1, "start": [{}, {}]}, "start lists 2 settings, but candidates is 1"),
        ({"start": [{"init": "grey"}]}, "start.0: 'init' is not in space; known: descent.lr, priors.tv"),
        ({"start": [{"descent.lr": 0.2}]}, r"start.0: 'descent.lr' is 0.2; allowed: .*choice=\[0.1, 1e-05\]"),
        ({"start": [{}], "cell__attack__priors": {}}, "start.0: 'priors.tv' is given neither here nor in cell.attack"),
        ({"cell__victims": [0, 1]}, "cell: 'victims' is set by 'trials' and 'seed' of the search"),
        ({"cell__client__samples": "two"}, "cell.client.samples must be a whole number from 1 up .found 'two'"),
        ({"cell__attack__name": "gia-x"}, "unknown attack 'gia-x'"),
        ({"trials": {"count": 0}}, "trials.count: .*greater than or equal to 1"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_file_and_the_key(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        search_of(tmp_path, **changes)
    assert str(tmp_path / "search.yaml") in str(caught.value) or "unknown attack" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_searches_of_the_project_are_valid():
    from pathlib import Path

    from gradleak.tuning.search import load_search

    files = sorted(Path(__file__).parents[2].glob("workflow/searches/*.yaml"))
    assert files
    for path in files:
        load_search(path)
