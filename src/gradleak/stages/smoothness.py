"""Stage `smoothness`: IGSA of the attacked model at the victims' images, of the cells that ask for it."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from gradleak.cell import Cell, digest
from gradleak.errors import UserError
from gradleak.files import write_provenance, write_text
from gradleak.plan import Plan, checkpoint_id
from gradleak.smoothness.estimate import Estimate
from gradleak.smoothness.measure import measure
from gradleak.stages.common import dataset_of, global_model
from gradleak.stages.tables import write_parquet

Progress = Callable[[str, int], Callable[[int], None]]


def write_smoothness(
    plan: Plan, batch: str, checkpoints: Path, out: Path, device: str, progress: Progress | None = None
) -> None:
    """Measure the cells of a batch that ask for it and write one row each to `out`.

    Cells that differ in the attack only are measured once. What is measured is kept in `<out>.state` until all is
    written: a killed job goes on with the next cell. Raises UserError where no cell of the batch asks for it, and
    naming the cell where IGSA is not defined.
    """
    started = time.time()
    cells = [cell for cell in plan.batch_cells(batch) if cell.smoothness is not None]
    if not cells:
        raise UserError(f"batch '{batch}': no cell has the part 'smoothness'")
    state = out.with_name(out.name + ".state")
    known = _read(state)
    count = progress("IGSA", len(cells)) if progress else None
    rows = []
    for cell in cells:
        content = cell.model_dump(mode="json", include={"dataset", "smoothness", "victims"})
        key = digest([content, checkpoint_id(cell, plan.config)])
        if key not in known:
            dataset = dataset_of(cell, plan.config)
            images, labels = dataset.images("test", cell.victims), dataset.labels("test", cell.victims)
            model = global_model(cell, plan.config, checkpoints)
            known[key] = smoothness_columns(cell, model, images, labels, device)
            write_text(state, json.dumps(known))
        rows.append({"cell_id": cell.id, **known[key]})
        if count is not None:
            count(1)
    write_parquet(pd.DataFrame(rows), out)
    write_provenance(out, started, batch=batch)
    state.unlink()


def smoothness_columns(
    cell: Cell, model: nn.Module, images: Tensor, labels: Tensor, device: str
) -> dict[str, float | int]:
    """IGSA of a cell as columns; images (N, 3, H, W), labels (N,). The model is moved to the device.

    Raises UserError naming the cell where IGSA is not defined.
    """
    assert cell.smoothness is not None
    try:
        found = measure(model.to(device), images, labels, cell.smoothness)
    except UserError as error:
        raise UserError(f"cell {cell.id} (model '{cell.model.name}', round {cell.model.round}): {error}") from None
    return _columns(found)


def _columns(found: Estimate) -> dict[str, float | int]:
    values = asdict(found)
    return {"igsa": values.pop("igsa"), **{f"igsa_{name}": value for name, value in values.items()}}


def _read(state: Path) -> dict[str, dict[str, float | int]]:
    try:
        content: dict[str, dict[str, float | int]] = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
