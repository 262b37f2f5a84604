"""The graph of rules: their jobs, what each needs, and its drawing as SVG."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gradleak.presentations.base import PRESENTATIONS
from gradleak.study.reused import others, read_reused, reused_cells

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


_BOX, _TALL, _GAP_X, _GAP_Y, _EDGE = 144.0, 40.0, 26.0, 18.0, 6.0
_SWEEPS = 8


@dataclass(frozen=True)
class _Place:
    x: float
    y: float


def draw(rules: Sequence[Rule], times: Mapping[str, str]) -> Markup:
    """The graph; `times`: total run time of a rule as text, where it was measured."""
    layers = _ordered(rules)
    tallest = max(len(layer) for layer in layers)
    height = tallest * (_TALL + _GAP_Y) - _GAP_Y + 2 * _EDGE
    width = len(layers) * (_BOX + _GAP_X) - _GAP_X + 2 * _EDGE
    places = {}
    for i, layer in enumerate(layers):
        top = (height - len(layer) * (_TALL + _GAP_Y) + _GAP_Y) / 2
        for j, name in enumerate(layer):
            places[name] = _Place(_EDGE + i * (_BOX + _GAP_X), round(top + j * (_TALL + _GAP_Y), 1))
    edges = Markup("").join(_edge(chain, places) for rule in rules for chain in _chains(rule, layers))
    boxes = Markup("").join(_box(rule, places[rule.name], times.get(rule.name, "")) for rule in rules)
    listed = "; ".join(f"{rule.name} after {', '.join(rule.needs)}" for rule in rules if rule.needs)
    return Markup(
        '<svg class="graph" viewBox="0 0 {w:g} {h:g}" role="img" aria-label="Graph of rules: {label}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="6" markerHeight="6" '
        'orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>{edges}{boxes}</svg>'
    ).format(w=width, h=height, label=listed, edges=edges, boxes=boxes)


def _layers(rules: Sequence[Rule]) -> dict[str, int]:
    """Layer of every rule: as far right as the rules that need it allow, so that edges are short."""
    needs = {rule.name: rule.needs for rule in rules}
    longest: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in longest:
            longest[name] = max((depth(need) + 1 for need in needs[name]), default=0)
        return longest[name]

    for name in needs:
        depth(name)
    for name in sorted(needs, key=lambda name: -longest[name]):
        users = [longest[user] for user in needs if name in needs[user]]
        if users:
            longest[name] = min(users) - 1
    return longest


def _ordered(rules: Sequence[Rule]) -> list[list[str]]:
    """Names by layer, top to bottom: each near the mean place of its neighbours. Long edges hold a place in between."""
    layer = _layers(rules)
    found: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for rule in rules:
        found[layer[rule.name]].append(rule.name)
    neighbours: dict[str, set[str]] = {}
    for rule in rules:
        for need in rule.needs:
            chain = [need, *(_via(need, rule.name, i) for i in range(layer[need] + 1, layer[rule.name])), rule.name]
            for i, name in enumerate(chain[1:-1], layer[need] + 1):
                found[i].append(name)
            for first, second in itertools.pairwise(chain):
                neighbours.setdefault(first, set()).add(second)
                neighbours.setdefault(second, set()).add(first)
    for sweep in range(_SWEEPS):
        for i in range(len(found)) if sweep % 2 == 0 else reversed(range(len(found))):
            centre = {name: j - (len(one) - 1) / 2 for one in found for j, name in enumerate(one)}
            means = {
                name: _mean([centre[other] for other in neighbours.get(name, ())], centre[name]) for name in found[i]
            }
            found[i].sort(key=lambda name: means[name])
    return found


def _mean(values: Sequence[float], default: float) -> float:
    return sum(sorted(values)) / len(values) if values else default


def _via(need: str, name: str, layer: int) -> str:
    return f"{need}>{name}@{layer}"


def _chains(rule: Rule, layers: Sequence[Sequence[str]]) -> list[list[str]]:
    held = [name for layer in layers for name in layer]
    return [[need, *(n for n in held if n.startswith(f"{need}>{rule.name}@")), rule.name] for need in rule.needs]


def _edge(chain: Sequence[str], places: Mapping[str, _Place]) -> Markup:
    start, end = places[chain[0]], places[chain[-1]]
    x, y = start.x + _BOX, start.y + _TALL / 2
    path = f"M{x:g} {y:g}"
    for name in chain[1:-1]:
        near = places[name]
        path += f"C{x + _GAP_X / 2:g} {y:g} {near.x - _GAP_X / 2:g} {near.y + _TALL / 2:g} {near.x:g} "
        x, y = near.x + _BOX, near.y + _TALL / 2
        path += f"{y:g}H{x:g}"
    path += (
        f"C{x + _GAP_X / 2:g} {y:g} {end.x - _GAP_X / 2:g} {end.y + _TALL / 2:g} {end.x - 1:g} {end.y + _TALL / 2:g}"
    )
    return Markup('<path class="edge" d="{}" marker-end="url(#arrow)"/>').format(path)


def _box(rule: Rule, place: _Place, time: str) -> Markup:
    jobs = f"{rule.jobs:,} job{'' if rule.jobs == 1 else 's'}" + (f", {time}" if time else "")
    middle = place.x + _BOX / 2
    return Markup(
        '<g class="rule {group}"><rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="6"/>'
        '<text class="name" x="{m:g}" y="{a:g}">{name}</text><text class="jobs" x="{m:g}" y="{b:g}">{jobs}</text></g>'
    ).format(
        group=rule.group, x=place.x, y=place.y, w=_BOX, h=_TALL, m=middle, a=place.y + 17, b=place.y + 31,
        name=rule.name, jobs=jobs,
    )  # fmt: skip
