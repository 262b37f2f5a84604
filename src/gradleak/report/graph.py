"""The graph of rules: their jobs, what each needs, and its drawing as SVG."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from statistics import fmean

from markupsafe import Markup

from gradleak.pipeline.stages import RULES
from gradleak.presentations.read import ShownExperiment
from gradleak.presentations.write import drawable
from gradleak.study.outline import Outline


@dataclass(frozen=True)
class Rule:
    """A rule in a study's graph: its group, its jobs, and the rules that it needs."""

    name: str
    group: str
    jobs: int
    needs: tuple[str, ...]


def rules_of(plan: Outline, experiments: Iterable[ShownExperiment]) -> list[Rule]:
    """The rules that a study has jobs of, in the order of the table of stages. Only needs that others do not imply."""
    jobs = _jobs(plan, experiments)
    kept = {rule: [need for need in stage.needs if jobs[need]] for rule, stage in RULES.items() if jobs[rule]}
    return [Rule(rule, RULES[rule].group, jobs[rule], _reduced(rule, kept)) for rule in kept]


def _reduced(name: str, needs: Mapping[str, list[str]]) -> tuple[str, ...]:
    implied = {further for need in needs[name] for further in _all(need, needs)}
    return tuple(need for need in needs[name] if need not in implied)


def _all(name: str, needs: Mapping[str, list[str]]) -> set[str]:
    return set(needs[name]).union(*(_all(need, needs) for need in needs[name]))


def _jobs(plan: Outline, experiments: Iterable[ShownExperiment]) -> dict[str, int]:
    shown = [drawable(experiment, images=True, reused=plan.taken_over) for experiment in experiments]
    commands = {entry.stage for experiment in shown for entry in experiment.show}
    jobs = {rule: len(stage.ids(plan)) for rule, stage in RULES.items()}
    unused = {"tables", "figures"} - commands
    return jobs | dict.fromkeys(unused | ({"collect_images"} if "figures" in unused else set()), 0)


_BOX, _TALL, _GAP_X, _GAP_Y, _EDGE = 144.0, 40.0, 26.0, 18.0, 6.0
_SWEEPS = 8


@dataclass(frozen=True)
class _Place:
    x: float
    y: float


def draw(rules: Sequence[Rule], times: Mapping[str, str]) -> Markup:
    """The graph; `times`: total run time of a rule as text, where it was measured."""
    layer = _layers(rules)
    chains = [_chain(need, rule.name, layer) for rule in rules for need in rule.needs]
    layers = _ordered(layer, chains)
    height = max(map(len, layers)) * (_TALL + _GAP_Y) - _GAP_Y + 2 * _EDGE
    width = len(layers) * (_BOX + _GAP_X) - _GAP_X + 2 * _EDGE
    places = {}
    for i, names in enumerate(layers):
        top = (height - len(names) * (_TALL + _GAP_Y) + _GAP_Y) / 2
        for j, name in enumerate(names):
            places[name] = _Place(_EDGE + i * (_BOX + _GAP_X), round(top + j * (_TALL + _GAP_Y), 1))
    edges = Markup("").join(_edge(chain, places) for chain in chains)
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
    order = list(TopologicalSorter(needs).static_order())
    layer: dict[str, int] = {}
    for name in order:
        layer[name] = max((layer[need] + 1 for need in needs[name]), default=0)
    for name in reversed(order):
        users = [layer[user] for user in needs if name in needs[user]]
        if users:
            layer[name] = min(users) - 1
    return {name: layer[name] for name in needs}


def _chain(need: str, name: str, layer: Mapping[str, int]) -> list[str]:
    """The names from a need to its rule, with a place in each layer that the edge passes."""
    return [need, *(f"{need}>{name}@{i}" for i in range(layer[need] + 1, layer[name])), name]


def _ordered(layer: Mapping[str, int], chains: Sequence[Sequence[str]]) -> list[list[str]]:
    """Names by layer, top to bottom: each near the mean place of its neighbours."""
    found: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for name, i in layer.items():
        found[i].append(name)
    neighbours: dict[str, set[str]] = {}
    for chain in chains:
        for i, name in enumerate(chain[1:-1], layer[chain[0]] + 1):
            found[i].append(name)
        for first, second in itertools.pairwise(chain):
            neighbours.setdefault(first, set()).add(second)
            neighbours.setdefault(second, set()).add(first)
    for sweep in range(_SWEEPS):
        for i in range(len(found)) if sweep % 2 == 0 else reversed(range(len(found))):
            centre = {name: j - (len(one) - 1) / 2 for one in found for j, name in enumerate(one)}
            means = {name: fmean(centre[other] for other in neighbours.get(name, {name})) for name in found[i]}
            found[i].sort(key=lambda name: means[name])
    return found


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
