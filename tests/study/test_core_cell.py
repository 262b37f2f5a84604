"""The cell: stable ids, families, factors, and one clear line for each mistake."""

import copy
import re

import pytest

from gradleak.errors import UserError
from gradleak.study.cell import Cell

BASE = {
    "dataset": {"name": "photos10", "resolution": 32},
    "model": {"name": "resnet18", "width": 0.25, "options": {"stem": "cifar"}},
    "client": {"samples": 2, "lr": 0.1},
    "knowledge_level": 4,
    "attack": {"name": "gia-o", "priors": {"tv": 0.003}, "descent": {"iterations": 200}},
    "victims": [0, 1],
    "seed": 0,
}


def content_of(changes=None):
    content = copy.deepcopy(BASE)
    for path, value in (changes or {}).items():
        *parents, leaf = path.split(".")
        node = content
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return content


def cell_of(changes=None):
    return Cell.parse(content_of(changes), "here")


# Another value for every factor; what must change with it so that the cell stays valid.
OTHER = {
    "dataset.name": {"dataset.name": "cifar10"},
    "dataset.resolution": {"dataset.resolution": 64},
    "dataset.classes": {"dataset.classes": ["rocket"]},
    "dataset.label_space": {"dataset.label_space": "cifar10", "dataset.classes": {"rocket": "airplane"}},
    "model.name": {"model.name": "resnet34"},
    "model.width": {"model.width": 0.5},
    "model.round": {"model.round": 1, "model.training": {}},
    "model.init_seed": {"model.init_seed": 1},
    "model.options.stem": {"model.options": {"stem": "imagenet"}},
    "client.samples": {"client.samples": 3, "client.batch_size": 2, "client.steps": 2, "victims": [0, 1, 2]},
    "client.batch_size": {"client.batch_size": 1},
    "client.epochs": {"client.epochs": 2},
    "client.steps": {"client.epochs": 3, "client.steps": 3},
    "client.lr": {"client.lr": 0.2},
    "client.bn_mode": {"client.bn_mode": "train"},
    "attack.knowledge": {"attack.knowledge": "wst"},
    "attack.labels": {"attack.labels": "inferred"},
    "attack.restarts": {"attack.restarts": 2},
    "attack.objective": {"attack.objective": "euclidean"},
    "attack.priors.tv": {"attack.priors": {"tv": 0.004}},
    "attack.init": {"attack.init": "uniform"},
    "attack.descent.iterations": {"attack.descent.iterations": 201},
    "attack.descent.lr": {"attack.descent.lr": 0.2},
    "attack.descent.schedule": {"attack.descent.schedule": "step"},
    "attack.descent.signed": {"attack.descent.signed": False},
    "attack.descent.box": {"attack.descent.box": False},
    "attack.descent.patience": {"attack.descent.patience": 5},
    "post_processing": {"post_processing": {"name": "clip"}},
    "knowledge_level": {"knowledge_level": 5},
    "victims": {"victims": [0, 2]},
    "seed": {"seed": 1},
}
#: One value each, today.
SINGLE = {"attack.name"}


def leaves(content, prefix=""):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_id_of_a_cell_is_the_recorded_one():
    # Recorded: results that are on file refer to it. A change here invalidates every stored result.
    assert cell_of().id == "4f34f1e0bbba49ae"
    assert cell_of().family == "3f74d1a125674d02"


def test_id_does_not_depend_on_how_the_cell_was_written():
    stated = {"client.batch_size": 2, "client.steps": 1, "client.epochs": 1, "model.width": 0.25, "attack.restarts": 1}
    assert cell_of(stated).id == cell_of().id
    shuffled = dict(reversed(content_of().items()))
    shuffled["attack"] = dict(reversed(shuffled["attack"].items()))
    assert Cell.parse(shuffled, "here").id == cell_of().id
    assert cell_of({"attack.priors": {"tv": 0.1, "bn": 1}}).id == cell_of({"attack.priors": {"bn": 1.0, "tv": 0.1}}).id
    assert Cell.parse(cell_of().model_dump(mode="json"), "here") == cell_of()


def test_every_factor_is_known_here():
    assert set(OTHER) | SINGLE == set(leaves(cell_of().model_dump(mode="json")))


@pytest.mark.parametrize("factor", list(OTHER))
def test_each_factor_changes_the_id_and_the_family_ignores_victims_and_seed(factor):
    other = cell_of(OTHER[factor])
    assert other.id != cell_of().id
    assert (other.family == cell_of().family) == (factor in ("victims", "seed"))
    # Which images are attacked does not change the model.
    model_or_data = factor.startswith(("model.", "dataset.")) and factor != "dataset.classes"
    assert (other.checkpoint != cell_of().checkpoint) == model_or_data


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_local_training_that_the_adversary_cannot_see_is_no_border_between_families(level):
    base = cell_of({"knowledge_level": level})
    for factor in ("client.batch_size", "client.epochs", "client.steps", "client.lr"):
        other = cell_of(OTHER[factor] | {"knowledge_level": level})
        assert other.id != base.id
        assert (other.family == base.family) == (level < 3), factor
    other = cell_of(OTHER["post_processing"] | {"knowledge_level": level})
    assert (other.family == base.family) == (level < 3)
    for factor in ("client.samples", "client.bn_mode"):
        assert cell_of(OTHER[factor] | {"knowledge_level": level}).family != base.family


#: Settings of a client that are no part of a cell without them.
CLIENT = {"shuffle": (False, True), "optimizer": ("sgd", "adam"), "momentum": (0, 0.9), "weight_decay": (0, 1e-4)}


@pytest.mark.parametrize("level", [1, 3])
@pytest.mark.parametrize("key", list(CLIENT))
def test_a_setting_of_local_steps_is_part_of_the_cells_that_have_it(key, level):
    default, other = CLIENT[key]
    base = cell_of({"knowledge_level": level})
    stated, changed = (cell_of({"knowledge_level": level, f"client.{key}": value}) for value in (default, other))
    assert stated.id == base.id
    assert f"client_{key}" not in stated.factors()
    assert changed.id != base.id
    assert (changed.family == base.family) == (level < 3)
    assert changed.factors()[f"client_{key}"] == other
    assert Cell.parse(changed.model_dump(mode="json"), "here") == changed


#: The same for the training, of a cell that attacks round 3.
TRAINED = {"model.round": 3, "model.training": {}}
TRAINING = {
    "clients": 6,
    "sampled": 4,
    "rounds": 101,
    "split": "dirichlet",
    "protocol": "fedsgd",
    "epochs": 9,
    "batch_size": 127,
    "lr": 0.02,
    "momentum": 0.9,
    "images": 1000,
    "evaluate": 100,
    "augment": "flip",
    "seed": 1,
    "precision": "mixed",
    "optimizer": "adam",
    "weight_decay": 1e-4,
    "victim_images": 10,
    "post_processing": [{"name": "clip", "bound": 2.0}],
}


def test_each_setting_of_a_training_changes_the_id_and_the_checkpoint_but_its_length():
    base = cell_of(TRAINED)
    assert base.training != cell_of(TRAINED | {"model.width": 0.5}).training
    assert {"alpha", *TRAINING} == set(type(base.model.training).model_fields)
    # Of a training without them they are no part: ids that are on file stay.
    left_out = {"optimizer", "weight_decay", "victim_images", "post_processing"}
    assert set(TRAINING) - set(base.model.training.model_dump()) == left_out
    assert base.training == "10dba24bf411403d"
    cells = [cell_of(TRAINED | {"model.training": {key: value}}) for key, value in TRAINING.items()]
    cells.append(cell_of(TRAINED | {"model.training": {"split": "dirichlet", "alpha": 0.1}}))
    assert len({cell.id for cell in [base, *cells]}) == len({cell.family for cell in [base, *cells]}) == len(cells) + 1
    longer = cells[list(TRAINING).index("rounds")]
    assert (longer.checkpoint, longer.training) == (base.checkpoint, base.training)
    assert len({cell.checkpoint for cell in [base, *cells]}) == len({cell.training for cell in [base, *cells]}) == 19


def test_rounds_of_one_training_differ_in_checkpoint_and_family():
    cells = [cell_of(TRAINED | {"model.round": number}) for number in (1, 2, 100)]
    assert len({cell.training for cell in cells}) == 1
    assert len({cell.checkpoint for cell in cells}) == len({cell.family for cell in cells}) == 3
    # Equal however it was written; and at round 0 nothing has been trained.
    stated = {"clients": 5, "sampled": 5, "epochs": 10, "alpha": None}
    assert cell_of({"model.round": 1, "model.training": stated}) == cells[0]
    assert Cell.parse(cells[0].model_dump(mode="json"), "here") == cells[0]
    assert cell_of(TRAINED | {"model.round": 0}) == cell_of()
    assert "model_training_clients" not in cell_of().factors()
    assert cells[2].factors()["model_training_rounds"] == 100


def test_all_changed_cells_have_distinct_ids():
    cells = [cell_of(), *(cell_of(change) for change in OTHER.values())]
    assert len({cell.id for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[0-9a-f]{16}", cell.id) for cell in cells)


def test_a_cell_cannot_be_changed():
    cell = cell_of()
    with pytest.raises(ValueError, match="frozen"):
        cell.seed = 3
    with pytest.raises(ValueError, match="frozen"):
        cell.client.lr = 3.0


def test_local_steps_follow_from_samples_mini_batch_and_epochs():
    for samples, batch, epochs, steps in [(1, None, 1, 1), (4, 4, 1, 1), (4, 1, 1, 4), (5, 2, 3, 9), (8, None, 6, 6)]:
        cell = cell_of(
            {
                "client.samples": samples,
                "client.batch_size": batch,
                "client.epochs": epochs,
                "victims": list(range(samples)),
            }
        )
        assert cell.client.updates == steps
        assert cell.client.minibatch == (batch or samples)
        assert cell.factors()["client_protocol"] == ("fedsgd" if steps == 1 else "fedavg")


def test_factors_are_columns_named_by_part_and_key():
    factors = cell_of().factors()
    expected = {path.replace(".", "_") for path in leaves(cell_of().model_dump(mode="json"))} - {"victims"}
    assert set(factors) == expected | {"client_protocol", "attack_level", "technique", "strength"}
    assert factors["attack_level"] == 1
    assert factors["client_samples"] == 2
    assert factors["client_batch_size"] == 2
    assert factors["attack_descent_iterations"] == 200
    assert factors["attack_priors_tv"] == 0.003
    assert factors["model_options_stem"] == "cifar"


CLIP, NOISE = {"name": "clip", "bound": 0.5}, {"name": "noise", "multiplier": 0.2, "scale": 1.0}


def test_post_processing_has_the_same_id_however_it_was_written():
    for nothing in ("none", [], None):
        assert cell_of({"post_processing": nothing}) == cell_of()
        assert cell_of({"post_processing": nothing}).model_dump(mode="json")["post_processing"] == "none"
    cell = cell_of({"post_processing": CLIP})
    assert cell == cell_of({"post_processing": [CLIP]})
    assert cell.id == cell_of({"post_processing": {"name": "clip", "bound": 0.50}}).id
    both = [cell_of({"post_processing": steps}) for steps in ([CLIP, NOISE], [NOISE, CLIP], [CLIP])]
    assert len({cell.id for cell in both}) == len({cell.family for cell in both}) == 3
    assert all(Cell.parse(cell.model_dump(mode="json"), "here") == cell for cell in both)
    assert both[0].model_dump(mode="json")["post_processing"] == [CLIP, NOISE]


def test_every_setting_of_a_defense_is_a_column():
    factors = cell_of({"post_processing": [CLIP, NOISE]}).factors()
    found = {key: value for key, value in factors.items() if key.startswith("post_processing")}
    assert found == {
        "post_processing": "clip + noise",
        "post_processing_clip_bound": 0.5,
        "post_processing_noise_multiplier": 0.2,
        "post_processing_noise_scale": 1.0,
    }
    assert (factors["technique"], factors["strength"]) == ("Clipping + Perturbation", "0.5 + 0.2")
    factors = cell_of().factors()
    assert (factors["post_processing"], factors["technique"], factors["strength"]) == ("none", "None", "-")


def test_post_processing_of_a_training_is_a_column_too():
    factors = cell_of(TRAINED | {"model.training": {"post_processing": CLIP, "victim_images": 10}}).factors()
    assert factors["model_training_post_processing"] == "clip"
    assert factors["model_training_post_processing_clip_bound"] == 0.5
    assert factors["model_training_victim_images"] == 10
    assert factors["post_processing"] == "none"
    assert cell_of(TRAINED).factors()["model_training_post_processing"] == "none"


def test_classes_are_one_column_of_text():
    def columns(**dataset):
        factors = cell_of({f"dataset.{key}": value for key, value in dataset.items()}).factors()
        return factors["dataset_classes"], factors["dataset_label_space"]

    assert columns() == (None, None)
    assert columns(classes=["rocket", "coffee"]) == ("coffee, rocket", None)
    mapping = {"rocket": "airplane", "chelsea": "cat"}
    assert columns(classes=mapping, label_space="cifar10") == ("chelsea -> cat, rocket -> airplane", "cifar10")


def test_the_order_of_classes_means_nothing():
    first, second = (cell_of({"dataset.classes": names}) for names in (["rocket", "coffee"], ["coffee", "rocket"]))
    assert first == second
    assert first.id == second.id
    assert Cell.parse(first.model_dump(mode="json"), "here") == first


def test_the_checkpoint_follows_the_label_space_not_the_images():
    mapped = {"dataset.classes": {"rocket": "airplane"}, "dataset.label_space": "cifar10"}
    assert cell_of(mapped).checkpoint == cell_of({"dataset.name": "cifar10"}).checkpoint
    assert cell_of(mapped | {"dataset.classes": {"rocket": "ship"}}).checkpoint == cell_of(mapped).checkpoint
    assert cell_of(mapped | {"dataset.resolution": 64}).checkpoint != cell_of(mapped).checkpoint


MISTAKES = {
    "classes-not-a-list": ({"dataset.classes": "rocket"}, "dataset.classes: must be a list .* (found 'rocket')"),
    "classes-empty": ({"dataset.classes": []}, "dataset.classes: is empty; name at least one class"),
    "classes-empty-mapping": (
        {"dataset.classes": {}, "dataset.label_space": "cifar10"},
        "dataset.classes: is empty; name at least one class",
    ),
    "class-not-text": ({"dataset.classes": ["rocket", 3]}, "dataset.classes: class names are text, 3 is not"),
    "class-twice": ({"dataset.classes": ["rocket", "rocket"]}, "dataset.classes: lists 'rocket' more than once"),
    "target-not-text": (
        {"dataset.classes": {"rocket": 0}, "dataset.label_space": "cifar10"},
        "dataset.classes: class names are text, 0 is not",
    ),
    "mapping-without-label-space": (
        {"dataset.classes": {"rocket": "airplane"}},
        "dataset: classes is a mapping, but there is no label_space",
    ),
    "label-space-with-a-list": (
        {"dataset.classes": ["rocket"], "dataset.label_space": "cifar10"},
        "dataset: label_space is 'cifar10', so classes must be a mapping",
    ),
    "label-space-without-classes": (
        {"dataset.label_space": "cifar10"},
        "dataset: label_space is 'cifar10', so classes must be a mapping",
    ),
    "label-space-is-the-set-itself": (
        {"dataset.classes": {"rocket": "coffee"}, "dataset.label_space": "photos10"},
        "dataset: label_space is 'photos10', the data set itself",
    ),
    "unknown-key": ({"sede": 1}, "sede: unknown key"),
    "unknown-nested-key": ({"client.batchsize": 1}, "client.batchsize: unknown key"),
    "unknown-attack-key": ({"attack.iterations": 9}, "attack.iterations: unknown key"),
    "unknown-deep-key": ({"attack.descent.iters": 9}, "attack.descent.iters: unknown key"),
    "wrong-type": ({"client.samples": "many"}, "client.samples: .*integer.* (found 'many')"),
    "fraction": ({"client.epochs": 1.5}, "client.epochs: .*integer.* (found 1.5)"),
    "not-a-mapping": ({"client": 5}, "client: .*(found 5)"),
    "out-of-range": ({"client.lr": 0}, "client.lr: .*greater than 0 (found 0)"),
    "B-above-N": ({"client.batch_size": 3}, "client: batch_size B is 3, but the client has only N=2 samples"),
    "impossible-U": ({"client.steps": 5}, "client: steps U is 5, but N=2, B=2, E=1 give U=1"),
    "momentum-of-adam": (
        {"client.optimizer": "adam", "client.momentum": 0.9},
        "client: momentum is 0.9, but optimizer is 'adam', which has its own; must be 0",
    ),
    "momentum-of-one": ({"client.momentum": 1}, "client.momentum: .*less than 1 (found 1)"),
    "negative-decay": ({"client.weight_decay": -1}, "client.weight_decay: .*greater than or equal to 0 (found -1)"),
    "decay-true": ({"client.weight_decay": True}, "client.weight_decay: must be a number (found true)"),
    "unknown-optimizer": ({"client.optimizer": "rms"}, "client.optimizer: .*'sgd' or 'adam' (found 'rms')"),
    "shuffle-twice": ({"client.shuffle": 2}, "client.shuffle: .*boolean.* (found 2)"),
    "bn-mode": ({"client.bn_mode": "frozen"}, "client.bn_mode: .*'eval' or 'train' (found 'frozen')"),
    "round-without-training": ({"model.round": 3}, "model: round is 3, but there is no training"),
    "round-beyond": (
        {"model.round": 3, "model.training": {"rounds": 2}},
        "model: round is 3, but training.rounds is 2",
    ),
    "unknown-training-key": ({"model.training": {"batch": 3}}, "model.training.batch: unknown key"),
    "too-many-sampled": ({"model.training": {"sampled": 6}}, "sampled is 6, but there are only 5 clients"),
    "too-few-images": ({"model.training": {"images": 4}}, "images is 4, but each of the 5 clients needs one"),
    "alpha-of-iid": ({"model.training": {"alpha": 0.5}}, "alpha is 0.5, but split is 'iid'"),
    "epochs-of-fedsgd": ({"model.training": {"protocol": "fedsgd", "epochs": 2}}, "epochs is 2, but a client of"),
    "momentum-of-fedsgd": (
        {"model.training": {"protocol": "fedsgd", "momentum": 0.5}},
        "momentum is 0.5, but a client of",
    ),
    "adam-of-fedsgd": (
        {"model.training": {"protocol": "fedsgd", "optimizer": "adam"}},
        "optimizer is 'adam', but a client of 'fedsgd' takes one step a round; must be 'sgd'",
    ),
    "decay-of-fedsgd": (
        {"model.training": {"protocol": "fedsgd", "weight_decay": 0.1}},
        "weight_decay is 0.1, but a client of 'fedsgd' takes one step a round; must be 0",
    ),
    "momentum-of-adam-training": (
        {"model.training": {"optimizer": "adam", "momentum": 0.9}},
        "momentum is 0.9, but optimizer is 'adam'",
    ),
    "too-many-victims": ({"victims": [0, 1, 2]}, "victims lists 3 images, but client.samples N is 2"),
    "no-victims": ({"victims": []}, "victims lists 0 images, but client.samples N is 2"),
    "victim-twice": ({"victims": [4, 4]}, "victims must be distinct indices from 0 up, found .4, 4."),
    "negative-victim": ({"victims": [0, -1]}, "victims must be distinct indices from 0 up, found .0, -1."),
    "unknown-attack": ({"attack.name": "gia-x"}, "attack: unknown attack 'gia-x'; known: .*gia-o"),
    "nameless-attack": ({"attack": {"restarts": 1}}, "attack: attack needs a 'name'; known: .*gia-o"),
    "unknown-objective": (
        {"attack.objective": "l1"},
        "attack.objective: unknown objective 'l1'; known: cosine, euclidean",
    ),
    "unknown-prior": ({"attack.priors": {"tvv": 1}}, "attack.priors: unknown prior 'tvv'; known: bn, tv, tv_sum"),
    "negative-prior": (
        {"attack.priors": {"tv": -1}},
        "attack.priors: weight of prior 'tv' is -1.0; .*finite number from 0 up",
    ),
    "bn-needs-4": (
        {"attack.priors": {"bn": 0.1}, "knowledge_level": 1},
        "'gia-o' as configured needs knowledge level 4, but knowledge_level grants 1",
    ),
    "wst-needs-3": (
        {"attack.knowledge": "wst", "knowledge_level": 1},
        "'gia-o' as configured needs knowledge level 3, but knowledge_level grants 1",
    ),
    "tv-needs-1": ({"knowledge_level": 0}, "needs knowledge level 1, but knowledge_level grants 0"),
    "post-processing": (
        {"post_processing": "clip"},
        "post_processing: must be 'none', a defense .*; known: clip, noise, qsgd, .* (found 'clip')",
    ),
    "unknown-defense": (
        {"post_processing": {"name": "dropout"}},
        "post_processing: unknown defense 'dropout'; known: ",
    ),
    "unknown-strength": ({"post_processing": [{"name": "clip", "max": 1}]}, "post_processing.max: unknown key"),
    "defense-twice": ({"post_processing": [{"name": "clip"}] * 2}, "post_processing: has 'clip' more than once"),
    "no-bits": ({"post_processing": {"name": "qsgd", "bits": 0}}, "post_processing.bits: .* greater than .* (found 0)"),
    "training-defense": (
        TRAINED | {"model.training": {"post_processing": ["clip"]}},
        "model.training.post_processing: must be 'none', a defense .* (found ",
    ),
    "victim-has-all": (
        TRAINED | {"model.training": {"clients": 4, "images": 12, "victim_images": 10}},
        "model.training: victim_images is 10 of 12 images: too few for the others",
    ),
    "victim-alone": (
        TRAINED | {"model.training": {"clients": 1, "victim_images": 3}},
        "model.training: victim_images is 3, but clients is 1; there must be others",
    ),
}


def pattern(text):
    return text.replace("(", r"\(").replace(")", r"\)")


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_each_mistake_is_one_clear_line(mistake):
    changes, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=pattern(message)) as caught:
        cell_of(changes)
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    content = content_of()
    del content["dataset"]
    with pytest.raises(UserError, match=r"^here: dataset: Field required$"):
        Cell.parse(content, "here")


@pytest.mark.parametrize("path", ["attack.priors.tv", "client.lr", "attack.descent.lr", "model.width"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(path, value):
    # Some bounds refuse them already: a comparison with nan is false, and a width has an upper bound.
    with pytest.raises(UserError):
        cell_of({path: value})
