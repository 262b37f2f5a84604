"""The progress of an attack: it ends at its total, however many passes there are and whenever they end."""

import pytest
from attack_cases import attack, context_of, share

from gradleak.attacks import matching
from gradleak.attacks.gia_o import GiaO
from gradleak.attacks.meter import Meter
from gradleak.cli.options import _log_lines
from gradleak.engine.descent import DescentConfig


def counted_by(meter, passes):
    """Run passes of so many iterations each."""
    for index, iterations in enumerate(passes):
        count = meter.of(index, len(passes))
        count(0)
        for _ in range(iterations):
            count(1)


@pytest.mark.parametrize(
    ("passes", "counted"),
    [([10], 10), ([10, 10, 10], 10), ([3, 10, 7], (10 + 10 + 7) // 3), ([10, 15], 10)],
)
def test_passes_are_counted_as_one_and_never_beyond_its_total(passes, counted):
    seen = []
    meter = Meter(10, seen.append)
    counted_by(meter, passes)
    assert len(seen) == sum(passes) + len(passes)
    assert min(seen) == 0
    assert sum(seen) == counted
    meter.end()
    assert sum(seen) == 10


def test_what_is_repeated_in_smaller_passes_is_counted_once():
    seen = []
    meter = Meter(8, seen.append)
    counted_by(meter, [6])
    assert sum(seen) == 6
    counted_by(meter, [8, 8])
    assert (min(seen), sum(seen)) == (0, 8)


def test_nothing_is_counted_where_nobody_listens():
    meter = Meter(8, None)
    assert meter.of(0, 2) is None
    meter.end()


@pytest.mark.parametrize("patience", [None, 5])
def test_an_attack_in_several_passes_counts_its_iterations_once(monkeypatch, photos, patience):
    monkeypatch.setattr(matching, "trials_that_fit", lambda *facts: 1)
    seen = []
    # A rate that gains nothing: with a patience, a pass ends at the first look, after 20 iterations.
    descent = DescentConfig(iterations=45, lr=1e-9, patience=patience)
    updates = [share(photos, [victim]) for victim in (0, 1)]
    found = attack(GiaO(descent=descent), updates, context_of(None, progress=seen.append))
    assert found.iterations.max() == (45 if patience is None else 6)
    assert len(seen) == 2 * (1 + (45 if patience is None else 20)) + 1
    assert (min(seen), sum(seen)) == (0, 45)


def test_a_log_has_a_line_per_quarter(capsys):
    count = _log_lines("attack", 10)
    for iterations in (0, 0, 1, 1, 0, 1, 4, 3, 0):
        count(iterations)
    assert capsys.readouterr().err.splitlines() == [f"attack: {done} of 10" for done in (0, 3, 7, 10)]
