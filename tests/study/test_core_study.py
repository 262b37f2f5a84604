"""Study files: axes, labels, trials, and one clear line for each mistake."""

from pathlib import Path

import pytest
import yaml

from gradleak.errors import UserError
from gradleak.study.cell import Cell
from gradleak.study.expand import load_study

WORKFLOW = Path(__file__).parents[2] / "workflow"

DEFAULTS = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {"name": "convnet", "options": {"channels": 4}},
    "client": {"samples": 2, "lr": 0.1},
    "attack": {"name": "gia-o", "descent": {"iterations": 10}},
}


def study_of(tmp_path, *blocks, **content):
    experiment = {"title": "One", "paper": "Table 1", "cells": list(blocks), "show": []}
    content = {"title": "A study", "defaults": DEFAULTS, "experiments": {"one": experiment}} | content
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_study(path)


def cells_of(tmp_path, *blocks, **content):
    return study_of(tmp_path, *blocks, **content).experiments["one"].cells


def test_a_block_is_the_product_of_its_axes_in_order(tmp_path):
    cells = cells_of(tmp_path, {"axes": [{"client.lr": [0.1, 0.2]}, {"client.epochs": [1, 2, 3]}]})
    found = [(cell.client.lr, cell.client.epochs) for cell, _ in cells]
    assert found == [(0.1, 1), (0.1, 2), (0.1, 3), (0.2, 1), (0.2, 2), (0.2, 3)]
    assert all(labels == {} for _, labels in cells)


def test_points_set_several_keys_and_labels_and_later_ones_win(tmp_path):
    block = {
        "labels": {"attack": "O", "who": "block"},
        "set": {"client.lr": 0.3, "attack.descent.lr": 0.7},
        "axes": [
            [
                {"labels": {"who": "first"}, "set": {"client.lr": 0.4, "model.options.stages": 2}},
                {"labels": {"what": "second"}},
            ],
            {"client.samples": [1, 3]},
        ],
    }
    cells = cells_of(tmp_path, block)
    assert [labels for _, labels in cells] == [{"attack": "O", "who": "first"}] * 2 + [
        {"attack": "O", "who": "block", "what": "second"}
    ] * 2
    assert [cell.client.lr for cell, _ in cells] == [0.4, 0.4, 0.3, 0.3]
    assert [cell.victims for cell, _ in cells] == [(0,), (0, 1, 2)] * 2
    assert cells[0][0].model.options == {"channels": 4, "stages": 2}
    assert cells[2][0].model.options == {"channels": 4}
    assert {cell.attack.descent.lr for cell, _ in cells} == {0.7}


def test_values_of_an_axis_may_be_mappings_that_replace_the_default(tmp_path):
    cells = cells_of(tmp_path, {"axes": [{"attack.priors": [{}, {"tv": 0.1}]}]})
    assert [cell.attack.priors for cell, _ in cells] == [{}, {"tv": 0.1}]


def test_trials_take_consecutive_victims_with_each_seed(tmp_path):
    cells = cells_of(tmp_path, {}, trials={"count": 3, "seeds": 2, "first": 100})
    assert [(cell.victims, cell.seed) for cell, _ in cells] == [
        ((100, 101), 0),
        ((100, 101), 1),
        ((102, 103), 0),
        ((102, 103), 1),
        ((104, 105), 0),
        ((104, 105), 1),
    ]
    assert len({cell.family for cell, _ in cells}) == 1


def test_a_blocks_trials_replace_the_studys_and_wrap_goes_on_from_0(tmp_path):
    block = {"set": {"client.samples": 4}, "trials": {"count": 2, "first": 3, "wrap": 6}}
    cells = cells_of(tmp_path, block, trials={"count": 9})
    assert [cell.victims for cell, _ in cells] == [(3, 4, 5, 0), (1, 2, 3, 4)]


def test_a_cell_of_two_experiments_occurs_once(tmp_path):
    def experiment(*rates):
        return {"title": "T", "paper": "P", "show": [], "cells": [{"axes": [{"client.lr": list(rates)}]}]}

    study = study_of(tmp_path, experiments={"a": experiment(0.1, 0.2), "b": experiment(0.2, 0.3)})
    assert [cell.client.lr for cell in study.cells()] == [0.1, 0.2, 0.3]
    assert study.name == "mine"
    assert len(study.experiments["b"].cells) == 2


def test_what_an_experiment_sets_holds_for_its_blocks_under_what_they_set(tmp_path):
    experiment = {
        "title": "T",
        "paper": "P",
        "show": [],
        "labels": {"setting": "small", "attack": "?"},
        "set": {"client.lr": 0.3, "client.samples": 1},
        "axes": [{"client.epochs": [1, 2]}],
        "trials": {"count": 2},
        "cells": [
            {"labels": {"attack": "O"}},
            {"set": {"client.lr": 0.4}, "axes": [{"model.width": [2.0]}], "trials": {"count": 1}},
            {"axes": []},
        ],
    }
    cells = study_of(tmp_path, experiments={"one": experiment}).experiments["one"].cells
    found = [(cell.client.lr, cell.client.epochs, cell.model.width, cell.victims) for cell, _ in cells]
    first = [(0.3, epochs, 1.0, (victim,)) for epochs in (1, 2) for victim in (0, 1)]
    assert found == [*first, (0.4, 1, 2.0, (0,)), (0.3, 1, 1.0, (0,)), (0.3, 1, 1.0, (1,))]
    assert [labels["attack"] for _, labels in cells] == ["O"] * 4 + ["?"] * 3
    assert {labels["setting"] for _, labels in cells} == {"small"}
    without = {key: value for key, value in experiment.items() if key != "cells"}
    (block,) = study_of(tmp_path, experiments={"one": without}).experiments.values()
    assert [cell.id for cell, _ in block.cells] == [cell.id for cell, _ in cells[:4]]


def test_a_labelled_axis_sets_each_key_to_the_value_of_the_label_and_null_sets_nothing(tmp_path):
    axis = {"label": "cut", "keys": ["client.lr", "attack.descent.lr"], "values": {"N": None, 0: 0.5, "b": 0.6}}
    cells = cells_of(tmp_path, {"axes": [axis]})
    assert [labels for _, labels in cells] == [{"cut": "N"}, {"cut": 0}, {"cut": "b"}]
    assert [cell.client.lr for cell, _ in cells] == [0.1, 0.5, 0.6]
    assert cells[0][0].id == cells_of(tmp_path, {})[0][0].id
    assert [cell.attack.descent.lr for cell, _ in cells[1:]] == [0.5, 0.6]


def test_a_blocks_axis_may_be_the_name_of_one(tmp_path):
    axes = {"rates": {"client.lr": [0.3, 0.4]}, "who": [{"labels": {"who": "a"}}], "epochs": {"client.epochs": [9]}}
    cells = cells_of(tmp_path, {"axes": ["who", "rates"]}, axes=axes)
    assert [(cell.client.lr, labels) for cell, labels in cells] == [(0.3, {"who": "a"}), (0.4, {"who": "a"})]
    with pytest.raises(UserError, match=r"experiments.one: unknown axis 'rate'; known: epochs, rates, who$"):
        study_of(tmp_path, {"axes": ["rate"]}, axes=axes)
    with pytest.raises(UserError, match=r"unknown axis 'rate'; known: none$"):
        study_of(tmp_path, {"axes": ["rate"]})
    with pytest.raises(UserError, match=r"mine.yaml: axes.same: must be \{key: \[values\]\}, .* or a list of points"):
        study_of(tmp_path, {}, axes={"same": "same"})


def test_defaults_are_not_shared_between_cells(tmp_path):
    block = {"axes": [[{"set": {"attack.priors.tv": 0.1}}, {"set": {}}]]}
    cells = cells_of(tmp_path, block)
    assert [dict(cell.attack.priors) for cell, _ in cells] == [{"tv": 0.1}, {}]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"sets": {}}, r"experiments.one.cells.0.sets: unknown key"),
        ({"axes": [{"client.lr": [0.1], "client.epochs": [1]}]}, "an axis names one key, found .*client.epochs"),
        ({"axes": [{"client.lr": []}]}, "experiments.one: has no cells"),
        ({"axes": [{"client.lr": 3}]}, r"axes.0.values.client.lr: Input should be a valid list .found 3"),
        ({"axes": [3]}, "axes.0.points: Input should be a valid list .found 3"),
        ({"axes": [[{"sets": {}}]]}, "axes.0.points.0.sets: unknown key"),
        ({"axes": [{"label": "a", "keys": [], "values": {}}]}, "axes.0.labelled.keys: List should have at least 1"),
        ({"axes": [{"label": "a", "values": {"b": 1}}]}, "axes.0.labelled.keys: Field required"),
        ({"axes": [{"label": "a", "keys": ["client.lr"], "values": {}}]}, "experiments.one: has no cells"),
        ({"axes": [{"client.learning": [1]}]}, "experiments.one .*client.learning: unknown key"),
        ({"set": {"client.lr.x": 1}}, "key 'client.lr.x' goes through 'lr', which is not a mapping"),
        ({"set": {"client.samples": "two"}}, "client.samples must be a whole number from 1 up .found 'two'"),
        ({"set": {"client.samples": 0}}, "client.samples must be a whole number from 1 up .found 0"),
        ({"set": {"client.batch_size": 9}}, "batch_size B is 9, but the client has only N=2"),
        ({"set": {"client.steps": 3}}, "steps U is 3, but N=2, B=2, E=1 give U=1"),
        ({"set": {"client.samples": 5}, "trials": {"wrap": 3}}, "victims must be distinct"),
        ({"trials": {"count": 0}}, "trials.count: .*greater than or equal to 1"),
        ({"set": {"attack.knowledge": "wst"}}, "needs knowledge level 3, but knowledge_level grants 1"),
        ({"labels": {"a": "b"}, "set": {"victim": 1}}, "'a': 'b'.*victim: unknown key"),
    ],
)
def test_each_mistake_is_one_line_that_names_file_and_experiment(tmp_path, block, message):
    with pytest.raises(UserError, match=message) as caught:
        study_of(tmp_path, block)
    assert str(caught.value).startswith(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(caught.value)


def test_a_study_with_an_unknown_key_or_without_a_title_is_refused(tmp_path):
    with pytest.raises(UserError, match="defualts: unknown key"):
        study_of(tmp_path, {}, defualts={})
    with pytest.raises(UserError, match="title: "):
        study_of(tmp_path, {}, title=None)


@pytest.mark.parametrize("client", [5, None, [1]])
def test_a_client_that_is_no_mapping_is_a_user_error(tmp_path, client):
    with pytest.raises(UserError, match="client"):
        study_of(tmp_path, {}, defaults=DEFAULTS | {"client": client})


def test_a_study_without_experiments_is_refused(tmp_path):
    with pytest.raises(UserError, match="experiments"):
        study_of(tmp_path, experiments={})


@pytest.mark.parametrize("block", [{"set": {"seed": 3}}, {"axes": [{"seed": [0, 1]}]}, {"set": {"victims": [7, 8]}}])
def test_a_seed_or_victims_outside_trials_are_refused_not_ignored(tmp_path, block):
    with pytest.raises(UserError, match="trials"):
        study_of(tmp_path, block)


TUNED = {
    "attack": {"name": "gia-o", "objective": "euclidean", "priors": {"tv": 0.2, "tv_sum": 0.3}, "descent": {"lr": 0.7}}
}
ATTACK = {"name": "gia-o", "tuned": "best", "descent": {"iterations": 10}}


def tuned_attacks(tmp_path, *blocks, attack=ATTACK, tuned=TUNED):
    for folder in ("studies", "tuned"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "tuned" / "best.yaml").write_text(yaml.safe_dump(tuned))
    cells = cells_of(tmp_path / "studies", *blocks, defaults=DEFAULTS | {"attack": attack})
    return [cell.attack for cell, _ in cells]


def test_tuned_settings_are_those_of_a_cell_that_says_nothing_else(tmp_path):
    (found,) = tuned_attacks(tmp_path, {})
    plain = {key: value for key, value in ATTACK.items() if key != "tuned"}
    (same,) = tuned_attacks(tmp_path, {"set": {"attack.descent.lr": 0.7}}, attack=plain | TUNED["attack"] | plain)
    assert found.descent.lr == 0.7
    assert found.descent.iterations == 10
    assert dict(found.priors) == {"tv": 0.2, "tv_sum": 0.3}
    assert found == same


def test_explicit_keys_win_over_tuned_ones(tmp_path):
    explicit = ATTACK | {"objective": "cosine", "priors": {"tv": 0.9}, "descent": {"lr": 0.5}}
    (found,) = tuned_attacks(tmp_path, {}, attack=explicit)
    assert (found.objective, found.descent.lr, dict(found.priors)) == ("cosine", 0.5, {"tv": 0.9, "tv_sum": 0.3})
    (found,) = tuned_attacks(tmp_path, {}, attack=ATTACK | {"priors": {}})
    assert dict(found.priors) == {}


def test_what_a_point_sets_replaces_tuned_values_as_it_does_others(tmp_path):
    block = {"axes": [{"attack.priors": [{}, {"tv": 0.1}]}, {"attack.descent.lr": [0.1, 0.2]}]}
    found = tuned_attacks(tmp_path, block)
    assert [dict(attack.priors) for attack in found] == [{}, {}, {"tv": 0.1}, {"tv": 0.1}]
    assert [attack.descent.lr for attack in found] == [0.1, 0.2, 0.1, 0.2]
    assert {attack.objective for attack in found} == {"euclidean"}


def test_a_block_chooses_tuned_settings_replaces_the_attack_or_does_without(tmp_path):
    plain = {"name": "gia-o", "descent": {"iterations": 10}}
    chosen, whole, unnamed = tuned_attacks(
        tmp_path,
        {"set": {"attack.tuned": "best"}},
        {"set": {"attack": {"name": "gia-o", "tuned": "best", "init": "grey"}}},
        {"set": {"attack": {"tuned": "best"}}},
        attack=plain,
    )
    assert (chosen.descent.lr, chosen.descent.iterations) == (0.7, 10)
    assert (whole.descent.lr, whole.descent.iterations, whole.init) == (0.7, 1000, "grey")
    assert (unnamed.name, unnamed.descent.lr) == ("gia-o", 0.7)
    without, other = tuned_attacks(tmp_path, {"set": {"attack.tuned": None}}, {"set": {"attack": plain}})
    assert without.descent.lr == other.descent.lr == 0.1
    assert without.objective == other.objective == "cosine"


def test_a_cell_does_not_depend_on_where_its_values_come_from(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    tuned_attacks(tmp_path / "a", {})
    tuned = cells_of(tmp_path / "a" / "studies", {}, defaults=DEFAULTS | {"attack": ATTACK})
    plain = {key: value for key, value in TUNED["attack"].items()} | {"descent": {"lr": 0.7, "iterations": 10}}
    assert tuned[0][0].id == cells_of(tmp_path / "b", {}, defaults=DEFAULTS | {"attack": plain})[0][0].id


@pytest.mark.parametrize(
    ("attack", "tuned", "message"),
    [
        ({"tuned": "bets"}, TUNED, "experiments.one: attack.tuned: unknown tuned settings 'bets'; known: best"),
        ({"tuned": 3}, TUNED, "unknown tuned settings 3; known: best"),
        ({"tuned": "../tuned/best"}, TUNED, "unknown tuned settings '../tuned/best'"),
        ({}, {"attack": {"name": "rog"}}, "'best' holds settings of attack 'rog', but attack.name is 'gia-o'"),
        ({}, {"attack": {"descent": {}}}, "best.yaml: attack must be a mapping with a 'name'"),
        ({}, {"result": 1}, "best.yaml: attack must be a mapping with a 'name' .found None"),
        ({}, {"attack": {"name": "gia-o", "lr": 1}}, "lr: unknown key"),
    ],
)
def test_mistakes_with_tuned_settings_are_one_line(tmp_path, attack, tuned, message):
    with pytest.raises(UserError, match=message) as caught:
        tuned_attacks(tmp_path, {}, attack=ATTACK | attack, tuned=tuned)
    assert "\n" not in str(caught.value)


def test_a_study_without_a_folder_of_tuned_settings_says_so(tmp_path):
    (tmp_path / "studies").mkdir()
    with pytest.raises(UserError, match=r"unknown tuned settings 'best'; known: none in .*tuned$"):
        cells_of(tmp_path / "studies", {}, defaults=DEFAULTS | {"attack": ATTACK})


WORDS = {"title": "Shared title", "paper": "Table 9", "show": [{"kind": "table", "columns": "x", "victims": 1}]}


def shared_study(tmp_path, own, shared=None, name="one"):
    """A study in a folder beside `experiments.yaml`, which describes experiments `one` and `two`."""
    (tmp_path / "studies").mkdir(exist_ok=True)
    content = {"experiments": {"one": WORDS, "two": WORDS}} if shared is None else shared
    (tmp_path / "experiments.yaml").write_text(yaml.safe_dump(content))
    return study_of(tmp_path / "studies", experiments={name: own})


def test_an_experiment_is_as_the_shared_file_says_but_for_what_the_study_says(tmp_path):
    (plain,) = shared_study(tmp_path, {}).experiments.values()
    assert (plain.title, plain.paper, plain.show) == (WORDS["title"], WORDS["paper"], WORDS["show"])
    (own,) = shared_study(tmp_path, {"title": "Own", "show": []}).experiments.values()
    assert (own.title, own.paper, own.show) == ("Own", WORDS["paper"], [])
    (alone,) = shared_study(tmp_path, WORDS | {"title": "Alone"}, name="three").experiments.values()
    assert (alone.title, alone.show) == ("Alone", WORDS["show"])


def test_a_mapping_of_kinds_changes_what_is_shown_or_adds_to_it(tmp_path):
    show = {"table": {"victims": 2, "rows": ["a"]}, "gallery": {"columns": "y"}}
    (own,) = shared_study(tmp_path, {"show": show}).experiments.values()
    table, gallery = own.show
    assert table == {"kind": "table", "columns": "x", "victims": 2, "rows": ["a"]}
    assert gallery == {"kind": "gallery", "columns": "y"}


def test_a_studys_axis_comes_before_a_shared_one_of_that_name(tmp_path):
    shared = {"axes": {"rates": {"client.lr": [0.3]}, "epochs": {"client.epochs": [2]}}, "experiments": {"one": WORDS}}
    own = {"axes": ["rates", "epochs"]}
    ((cell, _),) = shared_study(tmp_path, own, shared).experiments["one"].cells
    assert (cell.client.lr, cell.client.epochs) == (0.3, 2)
    study = study_of(tmp_path / "studies", experiments={"one": own}, axes={"rates": {"client.lr": [0.4]}})
    ((cell, _),) = study.experiments["one"].cells
    assert (cell.client.lr, cell.client.epochs) == (0.4, 2)


TWICE = WORDS | {"show": [{"kind": "contrast", "suffix": "a"}, {"kind": "contrast", "suffix": "b"}]}


@pytest.mark.parametrize(
    ("own", "shared", "message"),
    [
        ({"show": {"table": 3}}, None, r"mine.yaml: experiments.one.show.table: must be a mapping .* .found 3"),
        (
            {"show": {"contrast": {}}},
            {"experiments": {"one": TWICE}},
            "one.show.contrast: 2 of this kind are shown; .*list",
        ),
        ({"show": 3}, None, "mine.yaml: experiments.one.show: Input should be a valid list .found 3"),
        (None, None, "mine.yaml: experiments.one: Input should be a valid dict"),
        ({"titel": "T"}, None, "mine.yaml: experiments.one.titel: unknown key"),
        (
            {},
            {"experiments": {"two": WORDS}},
            "one: must give title, paper and show: .*experiments.yaml .* known: two$",
        ),
        ({}, {"experiments": {"one": {"title": "T"}}}, "/experiments.yaml: experiments.one.paper: Field required"),
        ({}, {"experiment": {}}, "/experiments.yaml: experiment: unknown key"),
        ({}, {"axes": {"a": {"label": "b"}}}, "/experiments.yaml: axes.a.labelled.keys: Field required"),
        ({}, {"axes": {"a": "b"}}, "/experiments.yaml: axes.a: must be"),
        ({}, [], "/experiments.yaml: must hold a mapping"),
    ],
)
def test_mistakes_with_the_shared_file_are_one_line(tmp_path, own, shared, message):
    with pytest.raises(UserError, match=message) as caught:
        shared_study(tmp_path, own, shared)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["title", "paper", "show"])
def test_without_the_shared_file_an_experiment_says_all_itself(tmp_path, key):
    experiment = {name: value for name, value in WORDS.items() if name != key}
    with pytest.raises(UserError, match=f"mine.yaml: experiments.one.{key}: Field required"):
        study_of(tmp_path, experiments={"one": experiment})


PUBLISHED = {
    "source": "Somebody 2020",
    "attack": {"name": "gia-o", "priors": {"tv_sum": 0.1}, "descent": {"iterations": 50, "lr": 0.3, "box": True}},
}


def published_attacks(tmp_path, *blocks, attack, published=PUBLISHED, tuned=TUNED):
    (tmp_path / "attacks").mkdir(exist_ok=True)
    (tmp_path / "attacks" / "first.yaml").write_text(yaml.safe_dump(published))
    return tuned_attacks(tmp_path, *blocks, attack=attack, tuned=tuned)


def test_an_attack_is_as_published_but_for_what_the_study_says(tmp_path):
    changed, pathed, none = published_attacks(
        tmp_path,
        {"set": {"attack": {"published": "first", "descent": {"lr": 0.5}}}},
        {"set": {"attack.priors": {}}},
        {"set": {"attack": {"name": "gia-o", "published": None}}},
        attack={"published": "first"},
    )
    assert (changed.name, changed.descent.iterations, changed.descent.lr) == ("gia-o", 50, 0.5)
    assert (dict(changed.priors), dict(pathed.priors)) == ({"tv_sum": 0.1}, {})
    assert (pathed.descent.lr, none.descent.iterations) == (0.3, 1000)


def test_another_published_attack_may_follow_that_of_the_defaults(tmp_path):
    other = {"attack": {"name": "first-layer"}}
    (found,) = published_attacks(
        tmp_path, {"set": {"attack": {"published": "first"}}}, attack={"name": "rog", "tuned": "best"}, tuned=other
    )
    assert found.name == "gia-o"


def test_tuned_settings_win_over_published_ones_and_their_priors_replace_those(tmp_path):
    (found,) = published_attacks(
        tmp_path, {}, attack={"published": "first", "tuned": "best", "descent": {"iterations": 7}}
    )
    assert (found.descent.iterations, found.descent.lr, found.descent.box) == (7, 0.7, True)
    assert (found.objective, dict(found.priors)) == ("euclidean", {"tv": 0.2, "tv_sum": 0.3})
    (found,) = published_attacks(
        tmp_path,
        {},
        attack={"published": "first", "tuned": "best"},
        tuned={"attack": {"name": "gia-o", "priors": {"tv": 0.2}}},
    )
    assert dict(found.priors) == {"tv": 0.2}


@pytest.mark.parametrize(
    ("attack", "tuned", "message"),
    [
        (
            {"published": "frist"},
            TUNED,
            "experiments.one: attack.published: unknown published settings 'frist'; known: first",
        ),
        (
            {"published": "first", "name": "rog"},
            TUNED,
            "'first' holds settings of attack 'gia-o', but attack.name is 'rog'",
        ),
        (
            {"published": "first", "tuned": "best"},
            {"attack": {"name": "rog"}},
            "attack.tuned: 'best' holds settings of attack 'rog', but attack.name is 'gia-o'",
        ),
    ],
)
def test_mistakes_with_published_settings_are_one_line(tmp_path, attack, tuned, message):
    with pytest.raises(UserError, match=message) as caught:
        published_attacks(tmp_path, {}, attack=attack, tuned=tuned)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((WORKFLOW / "attacks").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_published_attack_names_its_source_and_is_complete(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content.keys() == {"source", "attack"}
    assert content["source"].strip()
    cell = DEFAULTS | {"attack": content["attack"], "client": {}, "knowledge_level": 2, "victims": [0]}
    assert Cell.parse(cell, path.name).attack.name == content["attack"]["name"]


@pytest.mark.parametrize("study", ["architecture", "cifar", "content", "schedule", "strength"])
def test_the_other_studies_expand(study):
    assert load_study(WORKFLOW / f"studies/{study}.yaml").cells()
