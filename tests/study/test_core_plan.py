"""The plan: batches, checkpoints, costs, and its file."""

import io
import json
from dataclasses import astuple

import pytest
import torch
import yaml

from gradleak.errors import UserError
from gradleak.pipeline.jobs import plan_summary
from gradleak.specs import ModelSpec
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.cost import (
    JOB_START_S,
    Cost,
    Throughput,
    batch_cost,
    cost,
    federated_cost,
    forward_cost,
    forward_flops,
    recorded_throughput,
)
from gradleak.study.expand import load_study, study_path
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan

DEFAULTS = {
    "dataset": {"name": "photos10", "resolution": 16},
    "model": {"name": "convnet", "options": {"channels": 4, "stages": 2, "layers": 1}},
    "client": {"samples": 2, "lr": 0.1},
    "attack": {"name": "gia-o", "descent": {"iterations": 100}},
}


def experiment(*blocks, **content):
    return {"title": "T", "paper": "P", "show": [], "cells": list(blocks)} | content


def plan_of(tmp_path, experiments, config=None, **content):
    content = {"title": "S", "defaults": DEFAULTS, "trials": {"count": 3}, "experiments": experiments} | content
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return make_plan(load_study(path), config or Config(device="cpu"))


SPEED = recorded_throughput()["cpu"]
RATES = {"rates": experiment({"axes": [{"client.lr": [0.1, 0.2, 0.3]}]})}


def test_each_cell_is_in_one_batch_and_families_stay_together(tmp_path):
    # Two orders of the same six families, one cell of each per trial.
    axes = [{"attack.descent.lr": [0.1, 0.2, 0.3]}, {"attack.restarts": [1, 2]}]
    plan = plan_of(tmp_path, {"a": experiment({"axes": axes}), "b": experiment({"axes": axes[::-1]})})
    assert len(plan.cells) == 18
    listed = [cell for batch in plan.batches.values() for cell in batch.cells]
    assert sorted(listed) == sorted(plan.cells)
    (batch,) = plan.batches
    families = plan.families(batch)
    assert [len(family) for family in families] == [3] * 6
    assert all(len({cell.family for cell in family}) == 1 for family in families)
    assert [cell.id for family in families for cell in family] == listed
    assert [len(content["cells"]) for content in plan.experiments.values()] == [18, 18]


def test_families_that_are_listed_apart_are_packed_together(tmp_path):
    first = experiment({"set": {"attack.restarts": 1}, "trials": {"count": 2}})
    between = experiment({"set": {"attack.restarts": 2}, "trials": {"count": 2}})
    more = experiment({"set": {"attack.restarts": 1}, "trials": {"count": 2, "first": 100}})
    plan = plan_of(tmp_path, {"first": first, "between": between, "more": more})
    (batch,) = plan.batches
    assert [cell.attack.restarts for cell in plan.batch_cells(batch)] == [1, 1, 1, 1, 2, 2]
    assert [len(family) for family in plan.families(batch)] == [4, 2]


def test_batches_are_packed_by_the_minutes_of_a_job(tmp_path):
    plan = plan_of(tmp_path, RATES)
    assert len(plan.batches) == 1
    (family,) = plan.families(next(iter(plan.batches)))
    minutes = [SPEED.seconds(batch_cost(family[:size], "cpu")) / 60 for size in range(10)]
    for size in (1, 2, 4):
        config = Config.parse({"device": "cpu", "jobs": {"minutes": (minutes[size] + minutes[size + 1]) / 2}}, "here")
        packed = plan_of(tmp_path, RATES, config)
        assert [len(batch.cells) for batch in packed.batches.values()] == [size] * (9 // size) + [1] * (9 % size)
        assert next(iter(packed.batches.values())).seconds == round(60 * minutes[size] + JOB_START_S, 1)
        assert packed.cells == plan.cells
    apart = plan_of(tmp_path, RATES, Config.parse({"device": "cpu", "jobs": {"minutes": minutes[1] / 10}}, "here"))
    assert [len(batch.cells) for batch in apart.batches.values()] == [1] * 9


def test_another_experiment_with_another_model_leaves_the_batches_as_they_are(tmp_path):
    before = plan_of(tmp_path, RATES)
    other = {"other": experiment({"set": {"model.name": "resnet18", "model.options": {}, "model.width": 0.125}})}
    for experiments in (RATES | other, other | RATES):
        after = plan_of(tmp_path, experiments)
        assert len(after.batches) == 2
        for name, batch in before.batches.items():
            assert after.batches[name] == batch
    data = plan_of(tmp_path, RATES, Config.parse({"device": "cpu", "cache": "elsewhere"}, "here"))
    assert data.batches == before.batches


def test_models_that_are_measured_share_a_batch_where_one_holds_all_of_them(tmp_path):
    def of(name, **settings):
        return {"set": {"model": {"name": name, "width": 0.125, "options": {}}, **settings}}

    asked = {"smoothness": {"method": "finite", "samples": 4}}
    measured = {"measured": experiment(of("resnet18", **asked), of("resnet18"), of("googlenet", **asked))}
    plain = plan_of(tmp_path, RATES)
    plan = plan_of(tmp_path, RATES | measured)
    alone, shared = plan.batches
    assert plan.batches[alone] == plain.batches[alone]
    assert [cell.model.name for cell in plan.batch_cells(shared)] == ["resnet18"] * 6 + ["googlenet"] * 3
    assert plan.smoothness_batches == [shared]
    other = plan_of(tmp_path, RATES | measured | {"other": experiment(of("densenet43"))})
    assert plan.batches.items() < other.batches.items()

    seconds = plan.batches[shared].seconds - JOB_START_S
    tight = Config.parse({"device": "cpu", "jobs": {"minutes": 0.99 * seconds / 60}}, "here")
    apart = plan_of(tmp_path, measured, tight)
    models = [{cell.model.name for cell in apart.batch_cells(name)} for name in apart.batches]
    assert all(len(names) == 1 for names in models)
    assert set.union(*models) == {"resnet18", "googlenet"}


def test_a_cell_that_two_experiments_share_is_computed_once(tmp_path):
    plan = plan_of(tmp_path, {"a": RATES["rates"], "b": experiment({"set": {"client.lr": 0.2}})})
    assert len(plan.cells) == 9
    shared = {entry["cell_id"] for entry in plan.experiments["b"]["cells"]}
    assert len(shared) == 3
    assert shared < {entry["cell_id"] for entry in plan.experiments["a"]["cells"]}


def test_checkpoints_are_one_per_model_and_data_not_per_client_or_attack(tmp_path):
    assert len(plan_of(tmp_path, RATES).checkpoints) == 1
    variants = {"axes": [{"model.init_seed": [0, 1]}, {"dataset.resolution": [16, 32]}, {"attack.restarts": [1, 2]}]}
    plan = plan_of(tmp_path, {"a": experiment(variants)})
    assert len(plan.checkpoints) == 4
    for batch in plan.batches.values():
        assert set(batch.checkpoints) <= set(plan.checkpoints)
    assert {plan.cells[cell].checkpoint for cell in plan.checkpoints.values()} == {
        cell.checkpoint for cell in plan.cells.values()
    }


def test_data_from_elsewhere_makes_other_batches_and_checkpoints(tmp_path):
    from PIL import Image

    for split in ("train", "val"):
        for label in range(2):
            folder = tmp_path / "data" / split / f"c{label}"
            folder.mkdir(parents=True)
            for index in range(6):
                Image.new("RGB", (20, 20), (index * 40, label * 90, 7)).save(folder / f"{index}.png")
    given = Config.parse(
        {"device": "cpu", "data": {"mine": {"source": "folder", "path": str(tmp_path / "data")}}}, "here"
    )
    moved = Config.parse(
        {"device": "cpu", "data": {"mine": {"source": "folder", "path": str(tmp_path / "data/../data")}}}, "here"
    )
    defaults = DEFAULTS | {"dataset": {"name": "mine", "resolution": 16}}
    first = plan_of(tmp_path, RATES, given, defaults=defaults)
    second = plan_of(tmp_path, RATES, moved, defaults=defaults)
    assert first.cells.keys() == second.cells.keys()
    assert not first.batches.keys() & second.batches.keys()
    assert not first.checkpoints.keys() & second.checkpoints.keys()


def test_plan_file_round_trips_and_is_the_same_bytes_each_time(tmp_path):
    plan = plan_of(tmp_path, RATES)
    paths = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    plan.write(paths[0])
    plan_of(tmp_path, RATES).write(paths[1])
    found = Plan.read(paths[0])
    assert found == plan
    found.write(paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    assert set(json.loads(paths[0].read_text())) == {
        "study",
        "title",
        "note",
        "config",
        "columns",
        "accuracies",
        "experiments",
        "batches",
        "checkpoints",
        "trainings",
        "auxiliaries",
        "cells",
    }


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"cells": {"a": {}}}', "no json"])
def test_a_file_that_is_no_plan_is_one_line(tmp_path, text):
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        Plan.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_batch_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="batch 'nosuch' is not in the plan of study 'mine'"):
        plan_of(tmp_path, RATES).batch_cells("nosuch")


def test_a_victim_beyond_the_data_set_is_refused(tmp_path):
    plan_of(tmp_path, RATES, trials={"count": 1, "first": 498})
    with pytest.raises(UserError, match=r"^victim index 500: .* 'photos10' has 500 images \(0 to 499\)$"):
        plan_of(tmp_path, RATES, trials={"count": 1, "first": 499})


def test_victims_are_checked_for_each_choice_of_classes(tmp_path):
    rocket = {"dataset.classes": ["rocket"]}
    mapped = {"dataset.classes": {"rocket": "airplane"}, "dataset.label_space": "cifar10"}
    fits, beyond = {"count": 25}, {"count": 1, "first": 49}
    plan_of(tmp_path, {"a": experiment({"set": rocket}, {"set": mapped})}, trials=fits)
    for settings, chosen in [(rocket, "rocket"), (mapped, "rocket -> airplane")]:
        message = rf"^victim index 50: .* 'photos10' has 50 images of its chosen classes \({chosen}\) \(0 to 49\)$"
        with pytest.raises(UserError, match=message):
            plan_of(tmp_path, {"all": experiment({}), "some": experiment({"set": settings, "trials": beyond})})


def test_victims_are_checked_for_each_choice_of_labels(tmp_path):
    grouped = {"dataset.labels": {"every": 4, "alike": 4}, "client.samples": 4}
    plan = plan_of(tmp_path, {"a": experiment({"set": grouped})}, trials={"count": 120})
    (cell,) = [cell for cell in plan.cells.values() if cell.victims[0] == 4]
    assert (cell.factors()["dataset_labels_every"], cell.factors()["dataset_labels_alike"]) == (4, 4)
    message = r"'photos10' has 480 images in groups of 4, 4 of one class \(0 to 479\)$"
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, {"a": experiment({"set": grouped})}, trials={"count": 121})


def test_a_misspelt_class_is_refused_even_if_the_images_are_not_there_yet(tmp_path):
    config = Config.parse({"device": "cpu", "cache": str(tmp_path / "empty")}, "here")
    plan_of(tmp_path, {"a": experiment({"set": {"dataset.name": "cifar10", "dataset.classes": ["cat"]}})}, config)
    with pytest.raises(UserError, match="data set 'cifar10' has no class 'catt'; known: airplane"):
        plan_of(tmp_path, {"a": experiment({"set": {"dataset.name": "cifar10", "dataset.classes": ["catt"]}})}, config)


def test_a_checkpoint_is_shared_by_all_images_that_are_labelled_alike(tmp_path):
    mapped = {"dataset.classes": {"rocket": "airplane"}, "dataset.label_space": "cifar10"}
    blocks = [{"set": {"dataset.name": "cifar10"}}, {"set": mapped}, {"set": {"dataset.classes": ["rocket"]}}]
    config = Config.parse({"device": "cpu", "cache": str(tmp_path / "empty")}, "here")
    plan = plan_of(tmp_path, {"a": experiment(*blocks)}, config)
    assert len(plan.checkpoints) == 2
    # Where the images come from decides nothing about the model, where the label space comes from may.
    given = {"source": "embedded", "path": str(tmp_path)}
    moved = plan_of(
        tmp_path,
        {"a": experiment({"set": mapped})},
        Config.parse({"device": "cpu", "data": {"photos10": given}}, "here"),
    )
    assert moved.checkpoints.keys() < plan.checkpoints.keys()


TRAINED = {"model.training": {"clients": 2, "rounds": 9, "images": 40, "epochs": 1}}


def rounds_of(*rounds, **settings):
    return {"a": experiment({"set": TRAINED | settings, "axes": [{"model.round": list(rounds)}]})}


def test_all_rounds_of_a_training_are_made_by_one_training(tmp_path):
    plan = plan_of(tmp_path, rounds_of(7, 0, 2))
    assert len(plan.checkpoints) == 3
    (training,) = plan.trainings
    assert list(plan.rounds(training)) == [2, 7]
    assert plan.training_cell(training).model.round == 7
    assert set(plan.trainings[training]) < set(plan.checkpoints)
    longer = plan_of(tmp_path, rounds_of(7, 0, 2, 9))
    assert list(longer.trainings) == [training]
    assert set(plan.checkpoints) < set(longer.checkpoints)
    several = plan_of(tmp_path, rounds_of(1) | {"b": rounds_of(1, **{"model.training.lr": 0.5})["a"]})
    assert len(several.trainings) == 2
    assert plan_of(tmp_path, RATES).trainings == {}
    path = tmp_path / "plan.json"
    plan.write(path)
    assert Plan.read(path) == plan
    with pytest.raises(UserError, match="training 'nosuch' is not in the plan of study 'mine'"):
        plan.rounds("nosuch")


def test_a_training_that_wants_too_many_images_is_refused(tmp_path):
    plan_of(tmp_path, rounds_of(1, **{"model.training.images": 2000, "model.training.evaluate": 500}))
    wanted = [("images", 2001, "train", 2000), ("evaluate", 501, "test", 500), ("clients", 2001, "train", 2000)]
    for key, count, split, size in wanted:
        settings = {"model.training.images": None, f"model.training.{key}": count}
        message = rf"^model\.training\.{key} is {count}, but split '{split}' of data set 'photos10' has {size} images$"
        with pytest.raises(UserError, match=message):
            plan_of(tmp_path, rounds_of(1, **settings))
    empty = Config.parse({"device": "cpu", "cache": str(tmp_path / "empty")}, "here")
    plan_of(tmp_path, rounds_of(1, **{"dataset.name": "cifar10", "model.training.images": 60_000}), empty)


def test_a_training_costs_its_passes_over_the_images(tmp_path):
    def of(**settings):
        plan = plan_of(tmp_path, rounds_of(4, **{f"model.training.{key}": value for key, value in settings.items()}))
        return federated_cost(plan.training_cell(next(iter(plan.trainings))), plan.config)

    def operations(**settings):
        return of(**settings).operations

    forward = forward_flops(cell_of().model, 16)
    assert operations() == 4 * forward * (3 * 40 + 500)
    assert operations(epochs=5, evaluate=10) == 4 * forward * (3 * 200 + 10)
    assert operations(clients=4, sampled=1, evaluate=10) == 4 * forward * (3 * 10 + 10)
    fedsgd = {"protocol": "fedsgd", "evaluate": 10}
    assert operations(**fedsgd) == 4 * forward * (3 * 40 + 10)
    assert operations(**fedsgd, batch_size=8) == 4 * forward * (3 * 16 + 10)
    # Two clients of 20 images each: a step on all of them, or five epochs of three mini-batches; and one evaluation.
    started = forward_cost(cell_of().model, 16).started
    assert of(**fedsgd).started == 4 * started * (3 * 2 + 1)
    assert of(epochs=5, batch_size=8, evaluate=10).started == 4 * started * (3 * 2 * 5 * 3 + 1)


def test_an_unknown_data_set_and_a_missing_path_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"unknown data set 'photos11'; known: .*photos10"):
        plan_of(tmp_path, {"a": experiment({"set": {"dataset.name": "photos11"}})})
    config = Config.parse({"data": {"photos10": {"source": "folder", "path": "/nowhere/at/all"}}}, "here")
    with pytest.raises(UserError, match=r"^data.photos10.path: '/nowhere/at/all' does not exist$"):
        plan_of(tmp_path, RATES, config)


def test_an_unknown_model_or_option_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match=r"unknown model 'resnet99'; known: .*resnet18"):
        plan_of(tmp_path, {"a": experiment({"set": {"model.name": "resnet99"}})})
    with pytest.raises(UserError, match=r"model 'convnet': options .*chanels"):
        plan_of(tmp_path, {"a": experiment({"set": {"model.options.chanels": 3}})})


def cell_of(**changes):
    content = DEFAULTS | {"victims": [0, 1], "knowledge_level": 3}
    return Cell.parse(content | changes, "here")


def test_cost_is_proportional_to_work():
    def of(**changes):
        return astuple(cost(cell_of(**changes), "cpu"))

    operations, started = of()
    attack = DEFAULTS["attack"]
    assert of(attack=attack | {"restarts": 3}) == pytest.approx((3 * operations, started))
    assert of(attack=attack | {"descent": {"iterations": 500}}) == pytest.approx((5 * operations, 5 * started))
    assert of(client={"samples": 4}, victims=[0, 1, 2, 3]) == pytest.approx((2 * operations, started))
    # Local steps cost the adversary nothing, unless it simulates them: then E passes over the images in U steps.
    clients = [{"samples": 2, "batch_size": 1, "epochs": epochs} for epochs in (1, 3)]
    assert [of(client=client) for client in clients] == [(operations, started)] * 2
    one, three = (of(client=client, attack=attack | {"knowledge": "wst"}) for client in clients)
    assert three == pytest.approx((3 * one[0], 3 * one[1]))
    assert one[0] > operations
    assert one[1] == pytest.approx(2 * started)


@pytest.mark.parametrize(("device", "at_once"), [("cpu", 4), ("cuda", 64)])
def test_the_trials_of_a_pass_share_its_starts(device, at_once):
    # 64 images each: a CPU takes four trials at once.
    cells = [cell_of(client={"samples": 64}, victims=list(range(64 * i, 64 * i + 64))) for i in range(70)]
    single = cost(cells[0], device)
    for count in (1, 4, 5, 64, 65, 70):
        passes = -(-count // at_once)
        found = batch_cost(cells[:count], device)
        assert astuple(found) == pytest.approx((count * single.operations, passes * single.started))
    other = cell_of(
        client={"samples": 64}, victims=list(range(64)), attack=DEFAULTS["attack"] | {"objective": "euclidean"}
    )
    apart = batch_cost([cells[0], other, cells[1]], device)
    assert astuple(apart) == pytest.approx((3 * single.operations, 2 * single.started))


def test_seconds_are_those_of_operations_and_starts():
    speed = Throughput(flops_per_s=4e9, start_s=1e-3, measured=True, what="a test")
    assert speed.seconds(Cost(8e9, 500) + Cost(4e9, 500) * 2) == pytest.approx(5.5)


def test_starts_are_the_layers_and_what_stands_between_them():
    options = {"channels": 4, "stages": 1, "layers": 1, "pool": False}
    # Normalisation of the images (two), convolution, ReLU, linear layer.
    plain = forward_cost(ModelSpec(name="convnet", options=options), 16).started
    assert plain == 5
    assert forward_cost(ModelSpec(name="convnet", options=options | {"norm": True}), 16).started == plain + 1
    assert forward_cost(ModelSpec(name="convnet", options=options), 32).started == plain


def test_forward_operations_are_those_of_the_layers():
    options = {"channels": 4, "stages": 1, "layers": 1, "bias": False, "pool": False}
    found = forward_flops(ModelSpec(name="convnet", options=options), 16)
    convolution, linear = 2 * 27 * 4 * 256, 2 * 4 * 256 * 10
    assert found == convolution + linear
    torch.manual_seed(5)
    state = torch.get_rng_state()
    forward_flops(ModelSpec(name="convnet", options=options | {"kernel": 5}), 16)
    assert torch.equal(state, torch.get_rng_state())


def test_summary_counts_cells_images_and_jobs(tmp_path):
    from rich.console import Console

    content = experiment({"axes": [{"attack.descent.lr": [0.1, 0.2, 0.3]}], "set": {"attack.restarts": 2}})
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(plan_summary(plan_of(tmp_path, {"rates": content})))
    text = console.export_text()
    row = next(line for line in text.splitlines() if "rates" in line.split())
    assert row.split()[:3] == ["rates", "9", "36"]
    assert (
        "9 cells (18 trials in 3 families), 1 checkpoints, 0 federated trainings, 0 auxiliary models, 1 attack jobs"
        in text
    )


def test_an_unknown_study_lists_what_there_is(tmp_path, monkeypatch):
    folder = tmp_path / "workflow/studies"
    folder.mkdir(parents=True)
    (folder / "alpha.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert str(study_path("alpha")) == "workflow/studies/alpha.yaml"
    assert str(study_path("some/where.yaml")) == "some/where.yaml"
    with pytest.raises(UserError, match=r"^unknown study 'beta'; known: alpha$"):
        study_path("beta")
