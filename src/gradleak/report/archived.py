"""What an archive (`gradleak archive`) says in its `provenance.json`, in the form of the files beside results.

Read as JSON: the module that writes it brings the plan, the models and torch along.
"""

from pathlib import Path
from typing import Any

from gradleak.report.read import read_json

FILE = "provenance.json"
#: The rule whose jobs a stage of an archive names.
_RULES = {
    "update": "compute_updates",
    "attack": "run_attack",
    "score": "score_batch",
    "measure": "measure_smoothness",
    "train": "train_federated",
    "pretrain": "train_auxiliary",
}


def archived_jobs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What each job of an archive left, by rule; nothing where the folder is no archive."""
    if not (folder / FILE).exists():
        return {}
    content = read_json(folder / FILE, "gradleak archive")
    environments = content.get("environments", [])
    return {
        _RULES.get(stage, stage): [{**environments[job["environment"]], **job} for _, job in sorted(jobs.items())]
        for stage, jobs in content.get("jobs", {}).items()
    }


def archived_data(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of an archive's data sets by name; nothing where the folder is no archive."""
    if not (folder / FILE).exists():
        return {}
    return dict(read_json(folder / FILE, "gradleak archive").get("data", {}))
