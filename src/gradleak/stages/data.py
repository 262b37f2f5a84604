"""Stage `data`: fetch a data set where that is possible, and record what it is."""

import json
from pathlib import Path

from gradleak.errors import UserError
from gradleak.files import write_text
from gradleak.plan import Plan
from gradleak.stages.common import dataset_of


def record_dataset(plan: Plan, name: str, out: Path) -> None:
    """Fetch data set `name` of a plan and write its sizes, classes and fingerprint as JSON.

    Raises UserError if the plan does not use it, if it is missing and cannot be fetched, or if a victim index is
    beyond its test split.
    """
    cells = [cell for cell in plan.cells.values() if cell.dataset.name == name]
    if not cells:
        raise UserError(f"data set '{name}' is not used by study '{plan.study}'")
    dataset = dataset_of(cells[0], plan.config)
    dataset.fetch()
    size = dataset.size("test")
    highest = max(max(cell.victims) for cell in cells)
    if highest >= size:
        raise UserError(f"victim index {highest}: the test split of data set '{name}' has {size} images")
    content = {
        "name": name,
        "classes": list(dataset.class_names),
        "train": dataset.size("train"),
        "test": size,
        "fingerprint": dataset.fingerprint(),
    }
    write_text(out, json.dumps(content, indent=1) + "\n")
