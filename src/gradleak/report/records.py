"""What jobs left of themselves: provenance files of a run, or the one of an archive, which may be somebody else's."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gradleak.errors import UserError, first_error
from gradleak.pipeline.stages import FORMER_KEPT, KEPT
from gradleak.report.read import read_json
from gradleak.study.reused import PROVENANCE


class Place(BaseModel):
    """Where a job ran. Other keys are left to those who know them."""

    model_config = ConfigDict(extra="allow")

    cpu: dict[str, str | int] | None = None
    versions: dict[str, str] = {}
    host: str | None = None
    slurm_job: str | int | None = None


class Record(Place):
    """A job: when it ended (UTC), its seconds, and the fingerprints of its data sets by name."""

    seconds: float | None = Field(None, ge=0, lt=1e12, allow_inf_nan=False)
    finished: str | None = None
    data: dict[str, str] | None = None


class _Job(BaseModel):
    model_config = ConfigDict(extra="allow")

    environment: int = Field(ge=0)
    seconds: float = Field(ge=0, lt=1e12, allow_inf_nan=False)
    finished: str


class _Archive(BaseModel):
    environments: list[Place] = []
    jobs: dict[str, dict[str, _Job]] = {}
    data: dict[str, dict[str, Any]] = {}


_Model = TypeVar("_Model", bound=BaseModel)


def read_record(path: Path) -> dict[str, Any]:
    """The provenance of one job. Raises UserError if it is something else."""
    content = read_json(path, "make")
    _checked(Record, content, path)
    return content


def archived_jobs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of each job of an archive, by rule. Empty if the folder is no archive."""
    found = _archive(folder)
    places = [place.model_dump() for place in found.environments]
    for stage, jobs in found.jobs.items():
        for name, job in jobs.items():
            if job.environment >= len(places):
                raise UserError(f"{folder / PROVENANCE}: jobs.{stage}.{name}: its environment is not listed")
    return {
        _rule_of(stage): [{**places[job.environment], **job.model_dump()} for _, job in sorted(jobs.items())]
        for stage, jobs in found.jobs.items()
    }


def archived_data(folder: Path) -> dict[str, dict[str, Any]]:
    """What an archive says of its data sets, by name. Empty if the folder is no archive."""
    return _archive(folder).data


def _archive(folder: Path) -> _Archive:
    path = folder / PROVENANCE
    return _checked(_Archive, read_json(path, "gradleak archive"), path) if path.exists() else _Archive()


def _checked(model: type[_Model], content: dict[str, Any], path: Path) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: not provenance ({first_error(error)})") from None


def _rule_of(stage: str) -> str:
    name = FORMER_KEPT.get(stage, stage)
    return KEPT[name].rule if name in KEPT else stage
