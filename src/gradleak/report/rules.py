"""The pipeline's rules and what each needs: Snakemake's graph of rules, with the jobs that a study has of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradleak.reused import others, read_reused, reused_cells
from gradleak.tables.spec import PRESENTATIONS

#: Rules by the rules whose files they read. A test compares this with `snakemake --rulegraph`.
NEEDS: dict[str, tuple[str, ...]] = {
    "fetch_data": (),
    "fetch_lpips": (),
    "train_checkpoint": ("fetch_data",),
    "train_federated": ("fetch_data",),
    "train_auxiliary": ("fetch_data",),
    "compute_updates": ("fetch_data", "train_checkpoint", "train_federated"),
    "measure_smoothness": ("fetch_data", "train_checkpoint", "train_federated"),
    "run_attack": ("compute_updates", "train_checkpoint", "train_federated", "train_auxiliary"),
    "show_auxiliary": ("train_auxiliary", "fetch_lpips"),
    "score_batch": ("run_attack", "fetch_lpips"),
    "collect_results": ("score_batch", "measure_smoothness", "train_federated"),
    "collect_images": ("score_batch",),
    "theory": (),
    "survey": (),
    "tables": ("collect_results",),
    "figures": ("collect_results", "collect_images"),
    "claims": ("collect_results", "theory"),
    "report": ("tables", "figures", "claims", "theory", "survey", "show_auxiliary", "collect_results"),
}

#: What a rule belongs to, for its colour.
GROUPS: dict[str, str] = {
    **dict.fromkeys(["fetch_data", "fetch_lpips"], "data"),
    **dict.fromkeys(["train_checkpoint", "train_federated", "compute_updates", "measure_smoothness"], "client"),
    **dict.fromkeys(["train_auxiliary", "show_auxiliary", "run_attack"], "adversary"),
    **dict.fromkeys(["score_batch", "collect_results", "collect_images"], "measured"),
    **dict.fromkeys(["theory", "survey", "tables", "figures", "claims", "report"], "shown"),
}
GROUP_NAMES = {
    "data": "data",
    "client": "server and clients",
    "adversary": "adversary",
    "measured": "measurement",
    "shown": "tables, figures, claims",
}


@dataclass(frozen=True)
class Rule:
    """A rule in a study's graph: its group, its jobs, and the rules that it needs."""

    name: str
    group: str
    jobs: int
    needs: tuple[str, ...]


def rules_of(plan: Mapping[str, Any]) -> list[Rule]:
    """The rules that a study (plan.json) has jobs of, in the order of `NEEDS`; only needs that others do not imply."""
    jobs = _jobs(plan)
    kept = {name: [need for need in needs if jobs[need]] for name, needs in NEEDS.items() if jobs[name]}
    return [Rule(name, GROUPS[name], jobs[name], _reduced(name, kept)) for name in kept]


def _reduced(name: str, needs: Mapping[str, list[str]]) -> tuple[str, ...]:
    implied = {further for need in needs[name] for further in _all(need, needs)}
    return tuple(need for need in needs[name] if need not in implied)


def _all(name: str, needs: Mapping[str, list[str]]) -> set[str]:
    return set(needs[name]).union(*(_all(need, needs) for need in needs[name]))


def _jobs(plan: Mapping[str, Any]) -> dict[str, int]:
    batches, cells, auxiliaries = plan.get("batches", {}), plan.get("cells", {}), plan.get("auxiliaries", {})
    trainings = plan.get("trainings", {})
    trained = {checkpoint for checkpoints in trainings.values() for checkpoint in checkpoints}
    measured = [batch for batch in batches.values() if any(cells[cell].get("smoothness") for cell in batch["cells"])]
    reused = reused_cells(read_reused(plan))
    stages = {
        PRESENTATIONS[entry["kind"]].stage
        for experiment in plan["experiments"].values()
        for entry in experiment["show"]
        if not PRESENTATIONS[entry["kind"]].needs_images or _pictured(experiment, reused)
    }
    counts = {
        "fetch_data": len(_datasets(plan)),
        "train_checkpoint": len(set(plan.get("checkpoints", {})) - trained),
        "train_federated": len(trainings),
        "train_auxiliary": len(auxiliaries),
        "show_auxiliary": len(auxiliaries),
        "measure_smoothness": len(measured),
        "tables": int("tables" in stages),
        "figures": int("figures" in stages),
        "collect_images": int("figures" in stages and bool(batches)),
        "fetch_lpips": int(bool(batches or auxiliaries)),
        **dict.fromkeys(["compute_updates", "run_attack", "score_batch"], len(batches)),
    }
    return {name: counts.get(name, 1) for name in NEEDS}


def _pictured(experiment: Mapping[str, Any], reused: frozenset[str]) -> bool:
    """Whether a cell of an experiment is computed: archives hold no pictures."""
    cells = {cell["cell_id"] for cell in experiment.get("cells", [])}
    return not cells or not cells <= reused


def _datasets(plan: Mapping[str, Any]) -> set[str]:
    """Data sets whose images are attacked, or learned from by clients or by adversaries."""
    cells = others(plan.get("cells", {}), read_reused(plan)).values()
    trained = [cell["dataset"] for cell in cells if cell.get("model", {}).get("round")]
    learned = [auxiliary["dataset"]["name"] for auxiliary in plan.get("auxiliaries", {}).values()]
    clients = [dataset.get("label_space") or dataset["name"] for dataset in trained]
    return {*(cell["dataset"]["name"] for cell in cells if "dataset" in cell), *clients, *learned}
