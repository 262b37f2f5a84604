"""What `plan.json` must look like before anybody reads it: it may be somebody else's. Needs no torch."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gradleak.documents import read_json
from gradleak.errors import UserError, first_error
from gradleak.names import EXPERIMENTS_RESERVED, STUDIES_RESERVED, check_name, check_names, check_texts


class _Part(BaseModel):
    """What is not named here is left to those who read it."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Column(_Part):
    label: str
    digits: int = Field(ge=0, le=20)
    better: str | None


class _Dataset(_Part):
    name: str
    resolution: int = Field(32, ge=1)
    label_space: str | None = None


class _Training(_Part):
    seed: int = 0


class _Model(_Part):
    round: int = Field(0, ge=0)
    init_seed: int = 0
    training: _Training | None = None


class _Cell(_Part):
    dataset: _Dataset | None = None
    model: _Model = _Model()
    smoothness: dict[str, Any] | None = None
    seed: int = 0


class _Batch(_Part):
    cells: list[str] = Field(min_length=1)
    checkpoints: list[str] = []
    auxiliaries: list[str] = []
    seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    held: list[str] | None = None


class _Auxiliary(_Part):
    name: str
    dataset: _Dataset
    seed: int = 0


class _Source(_Part):
    source: str = ""


class _Config(_Part):
    jobs: dict[str, Any] = {}
    data: dict[str, _Source] = {}


class _Reused(_Part):
    model_config = ConfigDict(extra="forbid")

    archive: str
    sha256: str
    data: dict[str, str]
    cells: list[str]


class _Plan(_Part):
    study: str
    experiments: dict[str, Any]
    title: str | None = None
    note: str | None = None
    config: _Config = _Config()
    columns: dict[str, _Column] = {}
    cells: dict[str, _Cell] = {}
    batches: dict[str, _Batch] = {}
    checkpoints: dict[str, str] = {}
    trainings: dict[str, list[str]] = {}
    auxiliaries: dict[str, _Auxiliary] = {}
    accuracies: dict[str, tuple[str, int]] = {}
    accuracies_before: dict[str, str] = {}
    reused: list[_Reused] = []


def read_plan(path: Path) -> Mapping[str, Any]:
    """The checked content of a file `plan.json`. Raises UserError as `check_plan` does, or if it cannot be read."""
    try:
        content = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; run `gradleak plan`") from None
    return check_plan(content, str(path))


def check_plan(content: object, where: str) -> Mapping[str, Any]:
    """The content of `plan.json`, if it is one: its parts are of the right types and names, and refer to each other.

    Raises UserError that begins with `where` and names the key. Cells, settings, and what experiments show are looked
    at by those who read them.
    """
    if not isinstance(content, dict) or not isinstance(content.get("experiments"), dict) or "study" not in content:
        raise UserError(f"{where}: a plan needs the keys 'study' and 'experiments'; run `gradleak plan` again")
    try:
        # JSON has no tuples.
        plan = _Plan.model_validate(content | {"accuracies": _pairs(content.get("accuracies", {}))})
    except ValidationError as error:
        raise UserError(f"{where}: not a plan ({first_error(error)}); run `gradleak plan` again") from None
    check_name(plan.study, f"{where}: study", STUDIES_RESERVED)
    for part in ("title", "note", "columns", "experiments", "config"):
        check_texts(content.get(part), f"{where}: {part}")
    check_names(plan.experiments, f"{where}: experiment", EXPERIMENTS_RESERVED)
    check_names(plan.config.data, f"{where}: data set")
    parts: dict[str, Collection[str]] = {
        "cell": plan.cells,
        "batch": plan.batches,
        "checkpoint": plan.checkpoints,
        "training": plan.trainings,
        "auxiliary model": plan.auxiliaries,
    }
    for what, names in parts.items():
        for name in names:
            check_name(name, f"{where}: {what}")
    for what, name in _datasets(plan):
        check_name(name, f"{where}: {what}: data set")
    for name, batch in plan.batches.items():
        _known(f"{where}: batches.{name}.cells", batch.cells, plan.cells)
        _known(f"{where}: batches.{name}.checkpoints", batch.checkpoints, plan.checkpoints)
        _known(f"{where}: batches.{name}.auxiliaries", batch.auxiliaries, plan.auxiliaries)
        _known(f"{where}: batches.{name}.held", batch.held or [], batch.cells)
    _known(f"{where}: checkpoints", plan.checkpoints.values(), plan.cells)
    for name, found in plan.trainings.items():
        _known(f"{where}: trainings.{name}", found, plan.checkpoints)
    _known(f"{where}: accuracies", plan.accuracies, plan.cells)
    for entry in plan.reused:
        _known(f"{where}: reused", entry.cells, plan.cells)
    return content | {"config": renamed(content["config"])} if "config" in content else content


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a plan or record under today's names: before `precision` there was `tf32`, true or false."""
    found = dict(settings)
    if isinstance(found.get("tf32"), bool):
        found["precision"] = "tf32" if found.pop("tf32") else "float32"
    return found


def _pairs(accuracies: object) -> object:
    if not isinstance(accuracies, dict):
        return accuracies
    return {cell: tuple(pair) if isinstance(pair, list) else pair for cell, pair in accuracies.items()}


def _datasets(plan: _Plan) -> Iterable[tuple[str, str]]:
    for cell, content in plan.cells.items():
        if content.dataset is not None:
            yield f"cell {cell}", content.dataset.name
            yield f"cell {cell}", content.dataset.label_space or content.dataset.name
    for key, auxiliary in plan.auxiliaries.items():
        yield f"auxiliary model {key}", auxiliary.dataset.name


def _known(where: str, names: Iterable[str], known: Collection[str]) -> None:
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise UserError(f"{where}: not a plan (refers to {unknown!r}, which is not there); run `gradleak plan` again")
