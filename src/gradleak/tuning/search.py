"""The content of a search file, checked before anything runs, and the cells of its candidates."""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from gradleak.attacks.base import Attack
from gradleak.documents import read_yaml
from gradleak.errors import UserError
from gradleak.frozen import Frozen
from gradleak.study.cell import Cell
from gradleak.study.expand import MOST_IMAGES
from gradleak.study.nested import assign, copied, find
from gradleak.tuning.space import Dimension, Settings

# What the adversary is and knows is given, not searched for.
_GIVEN = ("name", "knowledge", "labels")
_ITERATIONS = ("descent.iterations", "latent.descent.iterations", "latent.generations", "weights.iterations")


class TuningTrials(Frozen):
    """The clients that candidates attack: client i of `count` has the N tuning images from index first + i N on.

    As many clients again, with the images after those, are for the validation.
    """

    count: int = Field(1, ge=1)
    first: int = Field(0, ge=0)


class SearchSpec(Frozen):
    """The content of a search file.

    `cell`: keys of a cell but victims and seed. `space`: dotted paths under its `attack`. Each of `generations` has
    `candidates` settings; at each of `rungs`, a share of the iterations, the best share `keep` goes on. `start` lists
    settings that the first generation tries for sure. What one leaves out is as in `cell`.
    """

    title: str
    cell: dict[str, Any]
    space: dict[str, Dimension] = Field(min_length=1)
    trials: TuningTrials = TuningTrials()
    candidates: int = Field(16, ge=1)
    generations: int = Field(1, ge=1)
    rungs: tuple[float, ...] = (0.25, 0.5, 1.0)
    keep: float = Field(0.5, gt=0, le=1)
    start: tuple[Settings, ...] = ()
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rungs = (0.0, *self.rungs)
        if any(high <= low for low, high in pairwise(rungs)) or rungs[-1] != 1:
            raise ValueError(f"rungs must rise from above 0 to 1.0, found {list(self.rungs)}")
        if len(self.start) > self.candidates:
            raise ValueError(f"start lists {len(self.start)} settings, but candidates is {self.candidates}")
        for path in self.space:
            if path in _GIVEN:
                raise ValueError(f"space: '{path}' says what the adversary is or knows; it is set in cell.attack")
            inside = next((other for other in self.space if other.startswith(path + ".")), None)
            if inside is not None:
                raise ValueError(f"space: '{inside}' is inside '{path}'; name one of them")
        for key in ("victims", "seed"):
            if key in self.cell:
                raise ValueError(f"cell: '{key}' is set by 'trials' and 'seed' of the search, not as a key of the cell")
        return self


@dataclass(frozen=True)
class Search:
    """A checked search: its specification, its cell with the attack's own settings, and complete start settings."""

    where: str
    spec: SearchSpec
    cell: Cell
    start: list[Settings]

    def attack(self, settings: Settings, share: float = 1.0) -> Attack:
        """The attack of a candidate with a share of its iterations, at least one. Raises UserError if not allowed."""
        content = copied(self.spec.cell)
        assign(content, {f"attack.{path}": value for path, value in settings.items()}, f"{self.where}: space")
        victims = {"victims": self.cell.victims, "seed": self.spec.seed}
        attack = Cell.parse(content | victims, f"{self.where}: space ({settings})").attack
        return attack if share == 1 else _shortened(attack, share)

    def survivors(self, finished: int) -> int:
        """The number of candidates that go on to the next rung, of those that finished one: at least one."""
        return max(1, math.ceil(self.spec.keep * finished - 1e-9))


def load_search(path: Path) -> Search:
    """Read and check a search file. Raises UserError naming the file, the key, the value and what is allowed."""
    spec = SearchSpec.parse(read_yaml(path), str(path))
    client = spec.cell.get("client", {})
    samples = client.get("samples", 1) if isinstance(client, dict) else 1
    if not isinstance(samples, int) or samples < 1:
        raise UserError(f"{path}: cell.client.samples must be a whole number from 1 up (found {samples!r})")
    if samples > MOST_IMAGES:
        raise UserError(f"{path}: cell.client.samples must be at most {MOST_IMAGES:,} (found {samples})")
    cell = Cell.parse(spec.cell | {"victims": list(range(samples)), "seed": spec.seed}, f"{path}: cell")
    search = Search(str(path), spec, cell, [])
    for name, dimension in spec.space.items():
        for value in dimension.ends():
            search.attack({name: value})
    for index, settings in enumerate(spec.start):
        search.start.append(_complete(settings, spec, cell, f"{path}: start.{index}"))
        search.attack(search.start[-1])
    return search


def _complete(settings: Settings, spec: SearchSpec, cell: Cell, where: str) -> Settings:
    unknown = sorted(settings.keys() - spec.space.keys())
    if unknown:
        raise UserError(f"{where}: '{unknown[0]}' is not in space; known: {', '.join(spec.space)}")
    own = cell.attack.model_dump(mode="json")
    found = {}
    for path, dimension in spec.space.items():
        try:
            value = settings[path] if path in settings else find(own, path)
        except KeyError:
            raise UserError(f"{where}: '{path}' is given neither here nor in cell.attack") from None
        if not dimension.allows(value):
            raise UserError(f"{where}: '{path}' is {value!r}; allowed: {dimension!r}")
        found[path] = value
    return found


def _shortened(attack: Attack, share: float) -> Attack:
    content = attack.model_dump(mode="json")
    for path in _ITERATIONS:
        try:
            iterations = find(content, path)
        except KeyError:
            continue
        assign(content, {path: max(1, round(share * iterations))}, "rungs")
    return type(attack).model_validate(content)
