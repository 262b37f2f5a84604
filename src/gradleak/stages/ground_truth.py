"""What is known of a client and its update with its true images: facts for the analysis, which no attack sees."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from gradleak.federated.client import Parameters, gradient_of, mean_loss, parameters_of, summed_steps
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.structure import parameters_in
from gradleak.study.cell import Cell


def measure_truth(
    cell: Cell, shared: SharedUpdate, images: Tensor, labels: Tensor, update: Parameters
) -> dict[str, Tensor]:
    """Losses of a client and cosines of its update, float64, as named tensors under the cell's id.

    images (N, 3, H, W) and labels (N,) are the client's, `update` is its own before post-processing, `shared` what the
    server sees of it. `losses` (2,): mean cross-entropy of these images before and after the local steps. `cosines`
    (P,): one per point at which the attack may match, see `_cosine`.
    """
    start = parameters_of(shared.model)
    end = {name: value - cell.client.lr * update[name] for name, value in start.items()}
    with torch.no_grad():
        losses = [mean_loss(shared.model, weights, images, labels).double() for weights in (start, end)]
    cosines = [_cosine(cell, shared, images, labels, update, point) for point in cell.attack.points]
    return {
        f"{cell.id}/truth/losses": torch.stack(losses),
        f"{cell.id}/truth/cosines": torch.tensor(cosines, dtype=torch.float64),
    }


def _cosine(
    cell: Cell, shared: SharedUpdate, images: Tensor, labels: Tensor, update: Parameters, point: float
) -> float:
    """Cosine, -1 to 1, of the shared update and what the attack computes of the true images, as far as it is matched.

    That is their gradient at a point between the model sent (0) and the one received (1), or, where the attack
    simulates the local steps (`wst`), the update of its simulation, in the given order: it knows no other. NaN for an
    update that is zero or not finite.
    """
    if cell.client.updates == 1:
        candidate = update  # the gradient itself, wherever an attack would look
    else:
        model = shared.model_at(point)
        parameters = parameters_of(model)
        if cell.attack.knowledge == "wst":
            candidate = summed_steps(model, parameters, images, labels, LocalTraining.of(cell.client))
        else:
            candidate = gradient_of(model)(model, parameters, images, labels)
    view = cell.attack.matched()
    names = list(shared.update) if view is None else parameters_in(shared.model, view)
    inner, own, target = (
        sum(float((left[name].double() * right[name].double()).sum()) for name in names)
        for left, right in ((candidate, shared.update), (candidate, candidate), (shared.update, shared.update))
    )
    scale = math.sqrt(own * target) if math.isfinite(own * target) else 0.0
    return inner / scale if scale > 0 else math.nan


def truth_columns(cell: Cell, tensors: Any, names: Collection[str]) -> list[dict[str, Any]]:
    """What `measure_truth` found, as columns of results, for each start of the attack.

    tensors: an open safetensors file or anything with `get_tensor`; names: of what it holds. Where each start matched
    gradients is under `points`; without, all did at the model that the server sent. A client that took several steps
    has diverged if its loss is not finite then, or above its start.
    """
    points = [0.0] * cell.attack.starts
    if f"{cell.id}/points" in names:
        points = tensors.get_tensor(f"{cell.id}/points").tolist()
    before, after = tensors.get_tensor(f"{cell.id}/truth/losses").tolist()
    columns: dict[str, Any] = {"client_loss_before": before, "client_loss_after": after}
    if cell.client.updates > 1 and not after <= before:
        columns["client_diverged"] = True
    cosines = tensors.get_tensor(f"{cell.id}/truth/cosines").tolist()
    known = dict(zip(cell.attack.points, cosines, strict=True))
    known.setdefault(0.0, cosines[0])  # of one gradient, all points are one
    rows = [columns | {"update_cosine": known[point]} for point in points]
    several = len(cell.attack.points) > 1 or cell.attack.points[0] > 0
    return [row | {"surrogate_alpha": point} for row, point in zip(rows, points, strict=True)] if several else rows
