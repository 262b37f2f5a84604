"""Stage `smoothness`: IGSA of the attacked model at the victims' images, of the cells that ask for it."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from gradleak.engine.device import device_facts
from gradleak.errors import UserError
from gradleak.files import write_provenance, write_text
from gradleak.frozen import digest
from gradleak.parquet import write_parquet
from gradleak.pipeline.code import code_digest
from gradleak.smoothness.igsa import measure
from gradleak.stages.common import dataset_of, global_model
from gradleak.stages.session import Session
from gradleak.study.cell import Cell
from gradleak.study.plan import Plan
from gradleak.tensors import tensors_sha256


def write_smoothness(plan: Plan, batch: str, checkpoints: Path, out: Path, session: Session) -> None:
    """Measure the cells of a batch that ask for it and write one row each to `out`.

    Cells that differ in the attack only are measured once. What is measured is kept in `<out>.state` until all is
    written: a killed job goes on with the next cell, unless weights, data, code or the settings that decide bits have
    changed. Raises UserError where no cell of the batch asks for it, and naming the cell where IGSA is not defined.
    """
    started = time.time()
    total = sum(cell.smoothness is not None for cell in plan.batch_cells(batch))
    if not total:
        raise UserError(f"batch '{batch}': no cell has the part 'smoothness'")
    state = out.with_name(out.name + ".state")
    known = _read(state)
    code = code_digest(["gradleak.stages.smoothness"])
    count = session.progress("IGSA", total)
    rows = []
    for family in plan.families(batch):
        asked = [cell for cell in family if cell.smoothness is not None]
        if not asked:
            continue
        dataset = dataset_of(asked[0], plan.config)
        model = global_model(asked[0], plan.config, checkpoints)
        weights = tensors_sha256(model.state_dict())
        sources = [weights, dataset.fingerprint(), code, session.device, plan.config.numerics]
        for cell in asked:
            content = cell.model_dump(mode="json", include={"dataset", "model", "smoothness", "victims"})
            key = digest([content, *sources])
            if key not in known:
                images, labels = dataset.images("test", cell.victims), dataset.labels("test", cell.victims)
                known[key] = smoothness_columns(cell, model, images, labels, session.device)
                write_text(state, json.dumps(known))
            rows.append({"cell_id": cell.id, **known[key]})
            count(1)
    write_parquet(pd.DataFrame(rows), out)
    write_provenance(out, started, batch=batch, settings=plan.config.numerics, **device_facts(session.device))
    state.unlink(missing_ok=True)


def smoothness_columns(
    cell: Cell, model: nn.Module, images: Tensor, labels: Tensor, device: str
) -> dict[str, float | int]:
    """IGSA of a cell as columns. Images (N, 3, H, W), labels (N,). The model is moved to the device.

    Raises UserError naming the cell where IGSA is not defined.
    """
    assert cell.smoothness is not None
    try:
        found = measure(model.to(device), images, labels, cell.smoothness)
    except UserError as error:
        raise UserError(f"cell {cell.id} (model '{cell.model.name}', round {cell.model.round}): {error}") from None
    values = asdict(found)
    return {"igsa": values.pop("igsa"), **{f"igsa_{name}": value for name, value in values.items()}}


def _read(state: Path) -> dict[str, dict[str, float | int]]:
    try:
        content: dict[str, dict[str, float | int]] = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
