"""What the results tell of the client: its loss, the cosine of its update, and whether it diverged."""

import math

import pytest
import torch
from core_cases import CLASSES, labels_of

from gradleak.attacks.base import RunContext
from gradleak.federated.client import gradient_of, mean_loss, parameters_of
from gradleak.metrics.base import Scorer
from gradleak.models.base import build_model
from gradleak.post_processing.signsgd import SignSgd
from gradleak.stages.ground_truth import truth_columns
from gradleak.stages.reconstruct import attack_family
from gradleak.stages.score import score_cell
from gradleak.stages.update import InMemory, pack_update, unpack_update
from gradleak.study.cell import Cell

OPTIONS = {"channels": 4, "stages": 1, "layers": 1, "norm": True}


def cell_of(**changes):
    content = {
        "dataset": {"name": "photos10", "resolution": 16},
        "model": {"name": "convnet", "options": OPTIONS},
        "client": {"samples": 2, "epochs": 4, "lr": 0.05},
        "attack": {"name": "gia-o", "surrogate": {"alpha": [0.0, 0.5, 1.0]}},
        "victims": [0, 1],
    }
    return Cell.parse(content | changes, "here")


def found(cell):
    model = build_model(cell.model, CLASSES, 16, (0.5,) * 3, (0.25,) * 3).eval()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = labels_of(2)
    content = InMemory(pack_update(cell, model, images, labels))
    shared = unpack_update(cell, content, set(content), model)
    if shared.difference is not None:  # as an attack says where its starts ended
        content[f"{cell.id}/points"] = torch.tensor(cell.attack.points, dtype=torch.float64)
    return model, images, labels, shared, truth_columns(cell, content, content)


def test_losses_are_those_of_the_clients_own_images_before_and_after_its_steps():
    model, images, labels, _, columns = found(cell_of())
    weights = parameters_of(model)
    before = float(mean_loss(model, weights, images, labels))
    for _ in range(4):
        step = gradient_of(model)(model, weights, images, labels)
        weights = {name: weights[name] - 0.05 * step[name] for name in weights}
    after = float(mean_loss(model, weights, images, labels))
    assert after < before
    for row in columns:
        assert row["client_loss_before"] == pytest.approx(before, rel=1e-5)
        assert row["client_loss_after"] == pytest.approx(after, rel=1e-4)
        assert "client_diverged" not in row
    assert [row["surrogate_alpha"] for row in columns] == [0.0, 0.5, 1.0]


def test_cosines_are_those_of_the_true_gradient_at_each_point():
    model, images, labels, shared, columns = found(cell_of())
    for row in columns:
        point = {
            name: value + row["surrogate_alpha"] * shared.difference[name]
            for name, value in parameters_of(model).items()
        }
        gradient = gradient_of(model)(model, point, images, labels)
        own = torch.cat([gradient[name].flatten() for name in shared.update]).double()
        target = torch.cat([value.flatten() for value in shared.update.values()]).double()
        assert row["update_cosine"] == pytest.approx(float(own @ target / own.norm() / target.norm()), abs=1e-5)
    assert columns[1]["update_cosine"] > max(columns[0]["update_cosine"], columns[2]["update_cosine"])


def test_a_single_gradient_is_matched_where_it_was_computed():
    *_, columns = found(cell_of(client={"samples": 2}))
    assert [row["surrogate_alpha"] for row in columns] == [0.0, 0.0, 0.0]
    assert [row["update_cosine"] for row in columns] == pytest.approx([1.0] * 3)


def test_a_simulation_of_the_true_images_is_what_was_shared():
    *_, columns = found(cell_of(attack={"name": "gia-o", "knowledge": "wst"}, knowledge_level=3))
    (row,) = columns
    assert row["update_cosine"] == pytest.approx(1.0, abs=1e-5)
    assert "surrogate_alpha" not in row


def test_the_cosine_is_of_what_is_sent_after_post_processing_and_of_what_is_matched():
    plain = cell_of(attack={"name": "gia-o"}, client={"samples": 2})
    signs = cell_of(attack={"name": "gia-o"}, client={"samples": 2}, post_processing=SignSgd().model_dump(mode="json"))
    assert found(plain)[-1][0]["update_cosine"] == pytest.approx(1.0)
    assert 0.1 < found(signs)[-1][0]["update_cosine"] < 0.95
    view = cell_of(attack={"name": "gia-o", "view": ["network.fc"]}, client={"samples": 2, "epochs": 8, "lr": 0.2})
    whole = cell_of(attack={"name": "gia-o"}, client={"samples": 2, "epochs": 8, "lr": 0.2})
    assert found(view)[-1][0]["update_cosine"] != found(whole)[-1][0]["update_cosine"]


@pytest.mark.parametrize(("lr", "finite"), [(3.0, True), (1e30, False)])
def test_a_client_whose_loss_ends_above_its_start_or_nowhere_is_marked(lr, finite):
    *_, columns = found(cell_of(client={"samples": 2, "epochs": 4, "lr": lr}))
    for row in columns:
        assert row["client_diverged"] is True
        assert not row["client_loss_after"] <= row["client_loss_before"]
        assert math.isfinite(row["client_loss_after"]) == finite


def test_one_step_of_fedsgd_is_no_training_that_could_diverge():
    *_, columns = found(cell_of(client={"samples": 2, "lr": 1e4}))
    assert all("client_diverged" not in row for row in columns)


def shared_of(cell, images, labels):
    """The model, what a client's file holds, and what the server makes of it."""
    model = build_model(cell.model, CLASSES, 16, (0.5,) * 3, (0.25,) * 3).eval()
    content = InMemory(pack_update(cell, model, images, labels))
    return model, content, unpack_update(cell, content, set(content), model)


def test_a_server_of_level_0_has_the_difference_of_both_models_and_not_the_rate():
    images, labels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), labels_of(2)
    cell = cell_of(knowledge_level=0)
    model, _, shared = shared_of(cell, images, labels)
    weights = parameters_of(model)
    for _ in range(4):
        step = gradient_of(model)(model, weights, images, labels)
        weights = {name: weights[name] - 0.05 * step[name] for name in weights}
    assert shared.training is None
    for name, start in parameters_of(model).items():
        assert torch.allclose(shared.difference[name], weights[name] - start, rtol=1e-3, atol=1e-7)


def test_the_alpha_is_chosen_by_the_objective_and_sees_no_image(cache):
    random = torch.Generator().manual_seed(1)
    images, labels = torch.rand(2, 3, 16, 16, generator=random), labels_of(2)
    attack = {"name": "gia-o", "surrogate": {"alpha": [0.0, 0.5, 1.0]}, "descent": {"iterations": 15, "lr": 0.05}}
    cell = cell_of(attack=attack)
    model, content, shared = shared_of(cell, images, labels)
    found = attack_family([cell], [shared], RunContext())
    lied = InMemory({name: -value if "/truth/" in name else value for name, value in content.items()})
    again = attack_family([cell], [unpack_update(cell, lied, set(lied), model)], RunContext())
    for name in ("images", "objective", "points"):
        assert torch.equal(getattr(found, name), getattr(again, name))
    results = found.images[0], found.objective[0], found.iterations[0]
    for truth in (images, torch.rand(2, 3, 16, 16, generator=random), found.images[0, -1]):
        rows, _ = score_cell(cell, truth, labels, *results, Scorer(cache))
        assert {row["restart"] for row in rows if row["chosen"]} == {int(found.objective[0].argmin())}
