"""Parts of the report: formulas, sections of the paper, durations, layers of the graph."""

import json

import pytest

from gradleak.pipeline.stages import GROUPS, RULES
from gradleak.presentations.read import parse_experiment
from gradleak.report.graph import Rule, _layers, draw, rules_of
from gradleak.report.run_times import duration
from gradleak.report.sections import section_of
from gradleak.report.tables import html, plain, short
from gradleak.study.outline import Outline


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("see ``x<y``", "see <code>x&lt;y</code>"),
        ("$G_O + p_{TV}$", '<span class="math">G<sub>O</sub> + p<sub>TV</sub></span>'),
        (r"LPIPS $\downarrow$", 'LPIPS <span class="math">↓</span>'),
        (r"$\eta = -1$ of $x^2$", '<span class="math">η = −1</span> of <span class="math">x<sup>2</sup></span>'),
        ("$<b>$", '<span class="math">&lt;b&gt;</span>'),
        ("from $5 to $ 6", "from $5 to $ 6"),
    ],
)
def test_text_becomes_html(text: str, found: str) -> None:
    assert str(html(text)) == found


def test_plain_text_has_no_markup() -> None:
    assert plain("$G_O$ & ``x``") == "GO & x"


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("Table 1, Sec. 4.1.1", "4.1"),
        ("Sec. 2.2 and 4.1", "2"),
        ("Figure 2, Sec. 3", "2"),
        ("Figure 11, Sec. 6", "6"),
        ("Table 6, Appx. C.V", "C"),
        ("Figure 4b", "4.2"),
        ("Figure 10", "5.2"),
        ("Table 1", "4.1"),
        ("not in the paper; its tables need evaluation mode", ""),
        ("Sec. 7", ""),
    ],
)
def test_sections_of_references(reference: str, key: str) -> None:
    assert section_of(reference).key == key


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.7, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "found"), [("0.123456", "0.1235"), ("-2.500000", "−2.5"), ("12", "12"), ("nan", "nan")]
)
def test_short_numbers(text: str, found: str) -> None:
    assert short(text) == found


def test_every_rule_has_a_group_with_a_name() -> None:
    assert {stage.group for stage in RULES.values()} == GROUPS.keys()


def test_needs_that_follow_from_others_are_left_out() -> None:
    cell = {"dataset": {"name": "a"}, "model": {"round": 0}, "smoothness": None}
    batch = {"cells": ["c"]}
    plan = {
        "study": "s",
        "cells": {"c": cell},
        "batches": {"b": batch},
        "checkpoints": {"k": "c"},
        "trainings": {},
        "auxiliaries": {},
        "experiments": {"e": {"title": "E", "show": [{"kind": "table", "columns": "x"}], "cells": [{"cell_id": "c"}]}},
    }
    experiments = [parse_experiment(name, content, "plan") for name, content in plan["experiments"].items()]
    rules = {rule.name: rule for rule in rules_of(Outline.parse(json.dumps(plan)), experiments)}
    assert rules["reconstruct_batch"].needs == ("compute_updates",)
    assert rules["compute_updates"].needs == ("fetch_data",)
    assert rules["collect_results"].needs == ("score_batch",)
    assert "tables" in rules
    assert not {"figures", "collect_images"} & rules.keys(), "the study shows no figures"
    assert not {"federate_training", "pretrain_auxiliary", "show_auxiliaries", "measure_smoothness"} & rules.keys()


def test_edges_go_to_the_right_and_every_rule_is_drawn() -> None:
    rules = [
        Rule("a", "data", 1, ()),
        Rule("b", "data", 2, ("a",)),
        Rule("c", "shown", 1, ("a", "b")),
        Rule("d", "shown", 1, ()),
    ]
    layers = _layers(rules)
    assert all(layers[need] < layers[rule.name] for rule in rules for need in rule.needs)
    svg = draw(rules, {"b": "4.0 s"})
    assert svg.count("<rect") == 4
    assert svg.count('class="edge"') == 3
    assert "2 jobs, 4.0 s" in svg
