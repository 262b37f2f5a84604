"""Stage `data`: fetch a data set where that is possible, and record what it is."""

import json
from pathlib import Path
from typing import get_args

from gradleak.data.base import Split
from gradleak.data.opening import open_dataset, open_view
from gradleak.errors import UserError
from gradleak.files import write_text
from gradleak.study.checks import check_training, check_victim, highest_victims
from gradleak.study.plan import Plan
from gradleak.study.reused import check_fingerprint


def record_dataset(plan: Plan, name: str, out: Path) -> tuple[str, ...]:
    """Fetch data set `name` of a plan and write its sizes, classes, fingerprint and notes as JSON. Returns the notes.

    What is recorded is the whole data set, whichever classes cells choose. Raises UserError if the plan does not use
    its images (as a label space it needs none), if it is missing and cannot be fetched, if it is not the one that the
    reused cells were computed on, if a label is no class, if a victim index is beyond the test images of the chosen
    classes, or a federated training wants more images than there are.
    """
    cells = [cell for cell in plan.computed.values() if cell.dataset.name == name]
    specs = [cell.dataset for cell in cells]
    specs += [a.dataset for a in plan.auxiliaries.values() if a.dataset.name == name]
    trainings = [cell for cell in plan.computed.values() if cell.model.round and cell.training_data.name == name]
    specs += [cell.training_data for cell in trainings]
    if not specs:
        raise UserError(f"data set '{name}' is not used by study '{plan.study}'")
    sources, cache = plan.config.data, plan.config.cache
    dataset = open_dataset(name, specs[0].resolution, sources, cache)
    dataset.fetch()
    fingerprint = dataset.fingerprint()
    check_fingerprint(plan.reused, name, fingerprint)
    for spec, top in highest_victims(cells):
        check_victim(spec, top, open_view(spec, sources, cache).size("test"))
    for cell in trainings:
        check_training(cell, dataset)
    for split in get_args(Split):
        dataset.labels(split, range(dataset.size(split)))  # raises UserError for one that is no class
    content: dict[str, object] = {
        "name": name,
        "classes": list(dataset.class_names),
        "train": dataset.size("train"),
        "test": dataset.size("test"),
        "fingerprint": fingerprint,
    }
    if dataset.notes:
        content["notes"] = list(dataset.notes)
    write_text(out, json.dumps(content, indent=1) + "\n")
    return dataset.notes
