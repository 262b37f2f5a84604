"""Which cells are chosen: what decides most per second, within the budget, the same each time."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gradleak.errors import UserError
from gradleak.study.cell import Cell
from gradleak.study.choosing import LPIPS_RANGE, Choice, choose, width
from gradleak.study.config import Config
from gradleak.study.cost import auxiliary_cost, federated_cost, recorded_throughput
from gradleak.study.expand import Experiment, Study

SMALL: dict[str, Any] = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {"name": "convnet", "options": {"channels": 4, "stages": 1, "layers": 1}},
}
TRAINED = SMALL["model"] | {"round": 2, "training": {"rounds": 2, "clients": 2, "images": 8, "evaluate": 8}}
ROG = {
    "name": "rog",
    "space": {"name": "rog", "dataset": SMALL["dataset"], "steps": 1000},
    "descent": {"iterations": 20},
}
START = 30  # seconds: the jobs of a data set, model and attack


def trials(count: int, iterations: int = 100, **settings: Any) -> list[Cell]:
    """Cells that differ in their victim."""
    attack = {"name": "gia-o", "descent": {"iterations": iterations}}
    content = SMALL | {"attack": attack} | settings
    return [Cell.parse(content | {"victims": [index]}, "here") for index in range(count)]


def study(**experiments: Sequence[list[Cell]]) -> Study:
    """Experiments of entries: the cells of each have its number as label."""
    return Study(
        "s",
        "",
        {
            name: Experiment(
                "", "", [], [(cell, {"entry": number}) for number, own in enumerate(found) for cell in own]
            )
            for name, found in experiments.items()
        },
    )


def known(cells: Iterable[Cell], *lpips: float) -> dict[str, float]:
    return {cell.id: value for cell, value in zip(cells, lpips, strict=False)}


def chosen(of: Study, minutes: float, have: dict[str, float]) -> Choice:
    return choose(of, Config(minutes=minutes, device="cpu"), have)


def entries(choice: Choice) -> list[tuple[str, Any]]:
    return [(pick.experiment, pick.labels["entry"]) for pick in choice.picks]


def test_the_width_is_that_of_the_t_interval():
    values = [0.08, 0.11, 0.19, 0.02]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert width(4, float(np.std(values, ddof=1))) == pytest.approx(high - low)


def test_undecided_entries_come_before_decided_ones_whatever_these_are_worth():
    wide, near = trials(6, 100), trials(6, 101)
    have = known(wide, 0.5, 0.6, 0.7) | known(near, 0.099, 0.1, 0.101)
    found = chosen(study(a=[wide, near]), 10, have)
    assert [pick.reason for pick in found.picks] == ["undecided"] * 3 + ["narrows"] * 3
    assert entries(found) == [("a", 1)] * 3 + [("a", 0)] * 3
    assert found.picks[3].value > found.picks[0].value
    assert found.undecided == {"a": 1}


def test_the_value_is_the_width_that_the_next_trial_closes():
    cells = trials(5)
    found = chosen(study(a=[cells]), 10, known(cells, 0.0, 0.1, 0.2))
    assert [pick.trial for pick in found.picks] == [4, 5]
    assert [pick.value for pick in found.picks] == pytest.approx([width(n, 0.1) - width(n + 1, 0.1) for n in (3, 4)])


def test_an_entry_of_few_trials_has_the_spread_of_all_and_ever_less_value():
    several, none = trials(4, 100), trials(5, 101)
    have = known(several, 0.1, 0.2, 0.3, 0.4)
    values = [pick.value for pick in chosen(study(a=[several, none]), 10, have).picks]
    spread = float(np.std([0.1, 0.2, 0.3, 0.4], ddof=1))
    closed = width(2, spread) - width(3, spread)
    assert values[:3] == pytest.approx([LPIPS_RANGE + closed, closed, closed])
    assert values == sorted(values, reverse=True)


def test_what_is_cheap_comes_first_among_equals():
    dear, cheap = trials(1, 1000), trials(1, 10)
    found = chosen(study(a=[dear, cheap]), 10, {})
    assert entries(found) == [("a", 1), ("a", 0)]
    assert found.picks[0].seconds - START < found.picks[1].seconds


def test_after_its_first_trial_an_entry_competes_with_its_second():
    found = chosen(study(a=[trials(3, client={"lr": lr}) for lr in (0.1, 0.2)]), 10, {})
    assert [pick.trial for pick in found.picks] == [1, 1, 2, 2, 3, 3]
    assert [pick.reason for pick in found.picks] == ["no trial yet"] * 2 + ["undecided"] * 2 + ["narrows"] * 2


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({"model": TRAINED}, lambda cell: federated_cost(cell, Config())),
        ({"attack": ROG, "knowledge_level": 2}, lambda cell: auxiliary_cost(cell.attack.auxiliaries()[0])),
    ],
)
def test_what_is_trained_for_several_cells_counts_once(settings, shared):
    first, second = (trials(1, **settings, client={"lr": lr}) for lr in (0.1, 0.2))
    found = chosen(study(a=[first, second]), 100, {})
    once = recorded_throughput()["cpu"].seconds(shared(first[0]))
    both = [pick.seconds for pick in found.picks]
    assert both[0] > once > 0
    assert both[0] - both[1] == pytest.approx(once + START + 10, rel=0.1)
    # So it is in what is left out.
    have = known(trials(1), 0.1)
    left = chosen(study(a=[first, second, trials(1)]), 0, have).left_out["a"]
    assert left == (2, pytest.approx(sum(both)))


def test_a_training_is_worth_it_for_all_that_need_it_together():
    """Alone, an entry that needs a training comes after others that cost less than it; of many entries, before them."""
    rest = [trials(1, 20000 + number) for number in range(3)]
    alone = chosen(study(rog=[trials(1, attack=ROG, knowledge_level=2)], a=rest), 100, {})
    many = [trials(1, attack=ROG, knowledge_level=2, client={"lr": 0.01 * number}) for number in range(1, 40)]
    together = chosen(study(rog=many, a=rest), 100, {})
    assert entries(alone)[-1] == ("rog", 0)
    assert [name for name, _ in entries(together)] == ["rog"] * 39 + ["a"] * 3


def test_a_training_is_not_bought_for_the_few_that_the_rest_of_the_budget_holds():
    many = [trials(1, attack=ROG, knowledge_level=2, client={"lr": 0.01 * number}) for number in range(1, 40)]
    rest = [trials(1, 20000 + number) for number in range(3)]
    whole = chosen(study(rog=many, a=rest), 100, {})
    training = whole.picks[0].seconds
    found = chosen(study(rog=many, a=rest), (training + 1e-6) / 60, {})
    assert entries(found)[0] == ("a", 0)


@pytest.mark.parametrize("minutes", [0.5, 0.6, 1, 2, 5])
def test_the_budget_is_kept_and_filled_with_what_fits(minutes):
    sizes = (10, 1000, 10000, 30000)
    all_of_it = study(a=[trials(3, size) for size in sizes])
    found = chosen(all_of_it, minutes, known(trials(1, 10), 0.1))
    left = found.left_out.get("a", (0, 0.0))
    taken = sum(pick.seconds for pick in found.picks)
    assert taken <= 60 * minutes
    assert len(found.picks) + left[0] == 11
    kept = {cell.id for cell in found.study.cells()}
    assert kept == {pick.cell for pick in found.picks} | {trials(1, 10)[0].id}
    whole = sum(pick.seconds for pick in chosen(all_of_it, 1000, known(trials(1, 10), 0.1)).picks)
    assert taken + left[1] == pytest.approx(whole)


def test_what_does_not_fit_is_passed_over_for_what_does():
    dear, cheap = trials(1, 1_000_000), trials(3, 10)
    have = known(cheap, 0.5, 0.5)
    found = chosen(study(a=[dear, cheap]), 1, have)
    assert entries(found) == [("a", 1)]
    assert found.left_out["a"][0] == 1


def test_equal_studies_and_archives_give_equal_choices():
    parts = [trials(4, size) for size in (100, 101, 102)]
    have = known(parts[0], 0.1, 0.2) | known(parts[1], 0.09)
    first, again = (chosen(study(a=parts[:2], b=parts), 0.6, have) for _ in range(2))
    assert first.picks == again.picks
    assert first.line() == again.line()


def test_in_no_time_nothing_is_computed_and_what_is_missing_is_named():
    there, missing = trials(2), trials(2, 101)
    found = chosen(study(a=[there], b=[missing]), 0, known(there, 0.1))
    assert not found.picks
    assert [cell.id for cell in found.study.cells()] == [there[0].id]
    assert found.gone == ["b"]
    assert found.left_out.keys() == {"a", "b"}
    assert found.line().startswith("minutes 0: 0 cells chosen, about 0.0 minutes; 3 left out, about ")
    assert found.line().endswith("; experiments without a cell: b")


def test_without_minutes_the_study_stays_whole():
    whole = study(a=[trials(2)])
    assert choose(whole, Config(), {}).study is whole


def test_a_study_of_which_nothing_fits_is_an_error():
    with pytest.raises(UserError, match=r"study 's': no cell fits in 0\.1 minutes, and no archive has any; give more"):
        chosen(study(a=[trials(2)]), 0.1, {})


def test_a_cell_of_two_experiments_is_taken_once_for_the_one_that_it_is_worth_most_to():
    cells = trials(3)
    have = known(cells, 0.1, 0.3)
    found = chosen(study(a=[cells], b=[cells[2:]]), 10, have)
    assert [(pick.cell, pick.experiment, pick.reason) for pick in found.picks] == [(cells[2].id, "b", "no trial yet")]


def test_a_trial_that_could_not_be_attacked_is_none_to_repeat_for_ever():
    cells = trials(4)
    found = chosen(study(a=[cells]), 10, known(cells, math.nan, math.nan))
    assert [pick.reason for pick in found.picks] == ["narrows"] * 2
    assert found.undecided == {}
