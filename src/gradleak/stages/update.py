"""Stage `update`: every victim client of a batch trains locally, post-processes its update and shares it."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gradleak.errors import UserError
from gradleak.federated.client import batch_statistics, drawn_order, local_update
from gradleak.federated.shared_update import LocalTraining, Scaled, SharedUpdate
from gradleak.files import write_provenance
from gradleak.frozen import digest
from gradleak.models.base import Classifier
from gradleak.post_processing.chain import apply_chain
from gradleak.stages.common import dataset_of, global_model
from gradleak.stages.ground_truth import measure_truth
from gradleak.study.cell import Cell
from gradleak.study.plan import Plan
from gradleak.tensors import write_tensors


def write_updates(plan: Plan, batch: str, checkpoints: Path, out: Path) -> None:
    """Compute the shared update of every cell of a batch and write them as one safetensors file.

    Its metadata say under `post_processing` (JSON, by cell) which defenses were applied.
    """
    started = time.time()
    content: dict[str, Tensor] = {}
    fingerprints = {}
    applied = {cell.id: cell.model_dump(mode="json")["post_processing"] for cell in plan.batch_cells(batch)}
    for family in plan.families(batch):
        model = global_model(family[0], plan.config, checkpoints)
        dataset = dataset_of(family[0], plan.config)
        if family[0].dataset.name not in fingerprints:  # reads the whole data set
            fingerprints[family[0].dataset.name] = dataset.fingerprint()
        for cell in family:
            images, labels = dataset.images("test", cell.victims), dataset.labels("test", cell.victims)
            content |= pack_update(cell, model, images, labels)
    write_tensors(content, out, {"post_processing": json.dumps(applied)})
    write_provenance(out, started, batch=batch, data=fingerprints, settings=plan.config.numerics)


def pack_update(cell: Cell, model: Classifier, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What one client shares, as named tensors under the cell's id, and `update_bits`, which its update takes.

    The order of a client that shuffles and post-processing are drawn from generators seeded by the cell. An update that
    is not finite is shared as it is. Under `zero/` is a name for each parameter whose gradient is zero, unless the
    whole update that is shared is, and under `truth/` what the analysis, and no attack, is told of the true images.
    """
    order = drawn_order(cell.client, _generator(cell, "order", "cpu"))
    update = local_update(model, images, labels, cell.client, order)
    finite = all(bool(value.isfinite().all()) for value in update.values())
    random = _generator(cell, "post-processing", images.device)
    sent = apply_chain(cell.post_processing if finite else (), update, random)
    content = {f"{cell.id}/labels": labels, f"{cell.id}/update_bits": torch.tensor(sent.bits)}
    for name, value in sent.update.items():
        content[f"{cell.id}/update/{name}"] = value.contiguous()
    zero = [name for name, value in update.items() if not value.any()]
    if len(zero) < len(update) or cell.post_processing:
        content |= {f"{cell.id}/zero/{name}": torch.tensor(True) for name in zero}
    for index, (mean, variance) in enumerate(batch_statistics(model, images)):
        content[f"{cell.id}/mean/{index}"] = mean
        content[f"{cell.id}/variance/{index}"] = variance
    shared = unpack_update(cell, InMemory(content), set(content), model)
    return content | measure_truth(cell, shared, images, labels, update)


def _generator(cell: Cell, purpose: str, device: torch.device | str) -> torch.Generator:
    # Not the seed of the attack, whose first draws are its start: order and noise must not be known to it.
    return torch.Generator(device).manual_seed(int(digest([cell.id, purpose]), 16) % 2**63)


def read_updates(path: Path, cells: list[Cell], model: Classifier) -> list[SharedUpdate]:
    """Read the updates of cells of one family, each with no more than the cell's knowledge level grants."""
    try:
        with safe_open(path, framework="pt") as stream:
            names = set(stream.keys())
            return [unpack_update(cell, stream, names, model) for cell in cells]
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `gradleak update`") from None


def read_facts(path: Path, cells: list[Cell]) -> dict[str, Tensor]:
    """Of each cell `<cell id>/update_bits`, an int64 scalar of what travelled, and all under `zero/` and `truth/`."""
    try:
        with safe_open(path, framework="pt") as stream:
            names = [f"{cell.id}/update_bits" for cell in cells]
            ids = {cell.id for cell in cells}
            known = [name.split("/") for name in stream.keys()]  # noqa: SIM118
            names += ["/".join(parts) for parts in known if parts[0] in ids and parts[1] in ("zero", "truth")]
            return {name: stream.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `gradleak update`") from None


def unpack_update(cell: Cell, tensors: Any, names: set[str], model: Classifier) -> SharedUpdate:
    """The adversary's view of a cell's update, from an open safetensors file or anything with `get_tensor`."""
    prefix = f"{cell.id}/update/"
    update = {name.removeprefix(prefix): tensors.get_tensor(name) for name in names if name.startswith(prefix)}
    if not update:
        raise UserError(f"the update of cell {cell.id} is missing; run `gradleak update`")
    order = [name for name, _ in model.named_parameters() if name in update]
    layers = sum(name.startswith(f"{cell.id}/mean/") for name in names)
    statistics = [
        (tensors.get_tensor(f"{cell.id}/mean/{index}"), tensors.get_tensor(f"{cell.id}/variance/{index}"))
        for index in range(layers)
    ]
    spec = cell.client
    update = {name: update[name] for name in order}
    shape = (cell.model.channels, cell.dataset.resolution, cell.dataset.resolution)
    full = SharedUpdate(
        update=update,
        model=model,
        round=cell.model.round,
        samples=spec.samples,
        image_shape=shape,
        num_classes=model.num_classes,
        labels=tensors.get_tensor(f"{cell.id}/labels") if cell.attack.labels == "known" else None,
        training=LocalTraining.of(spec),
        batch_statistics=statistics or None,
        post_processing=cell.post_processing,
        difference=Scaled(update, -spec.lr) if spec.updates > 1 else None,
    )
    return full.restricted(cell.knowledge_level)


class InMemory(dict[str, torch.Tensor]):
    """Named tensors with the reading interface of a safetensors file."""

    def get_tensor(self, name: str) -> Tensor:
        """The tensor of a name."""
        return self[name]
