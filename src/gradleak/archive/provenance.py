"""The provenance of an archive: what all jobs of a run left beside their results, in one file."""

import json
import platform
import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from gradleak.archive.victims import Victims
from gradleak.documents import read_json
from gradleak.engine.device import processor
from gradleak.errors import UserError, first_error
from gradleak.frozen import Frozen
from gradleak.pipeline.stages import FORMER_KEPT, KEPT
from gradleak.study.config import Config, Precision
from gradleak.study.plan import Plan
from gradleak.study.shape import renamed


class Environment(Frozen):
    """The place where a job ran. `device` and `cpu` are None if the stage's results do not depend on them."""

    device: str | None
    cpu: dict[str, str | int] | None
    python: str
    platform: str
    versions: dict[str, str]
    commit: str | None


class Job(Frozen):
    """One job: the number of its environment, the seconds that it took, and when it ended (UTC).

    `families`: seconds of each family of an attack job, by id. `again`: the environments in which a training was
    computed once more, where a run trained what an archive that it reuses had trained.
    """

    environment: int
    seconds: float = Field(ge=0)
    finished: str
    families: dict[str, float] = Field({})
    again: list[int] = Field([], exclude_if=lambda value: not value)


class Dataset(Frozen):
    """A data set as it was used: images per split, classes, and the SHA-256 that `gradleak data record` writes."""

    source: str
    train: int
    test: int
    classes: int
    fingerprint: str


class Provenance(Frozen):
    """Everything about a run that its results do not hold.

    `seconds`: of all jobs together. `iterations`: those that attacks were given, by name. `jobs`: by stage and id of
    what they computed (batch, training or auxiliary model).
    """

    study: str
    title: str
    first_finished: str
    last_finished: str
    seconds: float
    cells: int
    rows: int
    seeds: list[int]
    iterations: dict[str, list[int]]
    threads: int
    precision: Precision
    data: dict[str, Dataset]
    victims: list[Victims]
    environments: list[Environment]
    jobs: dict[str, dict[str, Job]]

    @field_validator("jobs", mode="before")
    @classmethod
    def _known_stages(cls, jobs: object) -> object:
        if not isinstance(jobs, dict):
            return jobs
        named = {FORMER_KEPT.get(stage, stage): found for stage, found in jobs.items()}
        unknown = next((stage for stage in named if stage not in KEPT), None)
        if unknown is not None:
            raise ValueError(f"unknown stage '{unknown}'; known: {', '.join(KEPT)}")
        return named

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for stage, jobs in self.jobs.items():
            for name, job in jobs.items():
                if not all(0 <= number < len(self.environments) for number in (job.environment, *job.again)):
                    raise ValueError(f"jobs.{stage}.{name}: its environment is not listed")
        return self

    def places(self, stage: str, name: str) -> list[Environment]:
        """All environments in which a job ran, first the one that its result is from."""
        job = self.jobs[stage][name]
        return [self.environments[number] for number in (job.environment, *job.again)]

    def check_settings(self, config: Config, names: Sequence[str], folder: Path) -> None:
        """Raise UserError where one of these settings is not what the archive in `folder` was computed with."""
        for name in names:
            ours, theirs = getattr(config, name), getattr(self, name)
            if ours != theirs:
                raise UserError(
                    f"{name} is {ours}, but the cells in {folder} were computed with {theirs}; set {name}: {theirs}"
                )

    def text(self) -> str:
        """The content of `provenance.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Provenance":
        """Read `provenance.json`. Raises UserError if it is missing or something else."""
        content = read_json(path)
        try:
            return cls.model_validate(renamed(content) if isinstance(content, dict) else content)
        except ValidationError as error:
            raise UserError(f"{path}: not the provenance of an archive ({first_error(error)})") from None


def gather(plan: Plan, run: Path, rows: int, victims: list[Victims]) -> Provenance:
    """The provenance of what a finished run in a folder computed.

    Raises UserError naming a job that left none, or that had other settings than the plan's.
    """
    environments: list[Environment] = []
    jobs: dict[str, dict[str, Job]] = {}
    for stage, names in jobs_of(plan).items():
        jobs[stage] = {}
        for name in names:
            path = run / (KEPT[stage].output.format(name) + ".provenance.json")
            if path.exists() or not KEPT[stage].temporary:
                content = _read(path)
                _check_settings(content, plan, path)
                jobs[stage][name] = _job(content, number_of(_environment(content), environments))
    return sum_up(plan, rows, _data(plan, run), victims, environments, jobs)


def sum_up(
    plan: Plan,
    rows: int,
    data: dict[str, Dataset],
    victims: list[Victims],
    environments: list[Environment],
    jobs: Mapping[str, dict[str, Job]],
) -> Provenance:
    """The provenance that these jobs give for the results of a plan's cells."""
    jobs = {stage: jobs[stage] for stage in KEPT if jobs.get(stage)}
    jobs, environments = _numbered(jobs, environments)
    ended = [job.finished for found in jobs.values() for job in found.values()]
    iterations: dict[str, set[int]] = {}
    for cell in plan.cells.values():
        iterations.setdefault(cell.attack.name, set()).add(cell.attack.total_iterations)
    return Provenance(
        study=plan.study,
        title=plan.title,
        first_finished=min(ended, default=""),
        last_finished=max(ended, default=""),
        seconds=round(sum(job.seconds for found in jobs.values() for job in found.values()), 1),
        cells=len(plan.cells),
        rows=rows,
        seeds=sorted({cell.seed for cell in plan.cells.values()}),
        iterations={name: sorted(found) for name, found in sorted(iterations.items())},
        threads=plan.config.threads,
        precision=plan.config.precision,
        data=data,
        victims=victims,
        environments=environments,
        jobs=jobs,
    )


def _numbered(
    jobs: dict[str, dict[str, Job]], environments: list[Environment]
) -> tuple[dict[str, dict[str, Job]], list[Environment]]:
    """Numbers environments in the order of the jobs that ran there, so that equal jobs give equal text."""
    ran = [number for found in jobs.values() for job in found.values() for number in (job.environment, *job.again)]
    new = {number: index for index, number in enumerate(dict.fromkeys(ran))}

    def renamed(job: Job) -> Job:
        again = [new[number] for number in job.again]
        return job.model_copy(update={"environment": new[job.environment], "again": again})

    renumbered = {stage: {name: renamed(job) for name, job in found.items()} for stage, found in jobs.items()}
    return renumbered, [environments[number] for number in new]


def jobs_of(plan: Plan) -> dict[str, Collection[str]]:
    """The ids of what each stage of a plan computes."""
    return {name: stage.ids(plan) for name, stage in KEPT.items()}


def _check_settings(content: Mapping[str, Any], plan: Plan, path: Path) -> None:
    """What decides bits is in each job's record: the plan must say of it what they say."""
    settings = renamed(content.get("settings", {}))
    for key, asked in plan.config.numerics.items():
        had = settings.get(key, asked)
        if had != asked:
            raise UserError(f"{path}: was computed with {key}: {had}, the plan says {asked}; run the study again")


def _job(content: Mapping[str, Any], environment: int) -> Job:
    return Job(
        environment=environment,
        seconds=content["seconds"],
        finished=content["finished"],
        families=content.get("family_seconds", {}),
    )


def _environment(content: Mapping[str, Any]) -> Environment:
    names = ("python", "platform", "versions", "commit")
    device, cpu = content.get("device"), content.get("cpu")
    here = (content.get("host"), content.get("platform")) == (socket.gethostname(), platform.platform())
    if device is not None and cpu is None and here:
        cpu = processor()  # provenance files did not always name the CPU; this is the machine that wrote them
    return Environment(device=device, cpu=cpu, **{name: content[name] for name in names})


def number_of(environment: Environment, known: list[Environment]) -> int:
    """The place of an environment among the known ones, which it joins if it is not there."""
    if environment not in known:
        known.append(environment)
    return known.index(environment)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; the run is not finished") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not the provenance of a job")
    return content


def _data(plan: Plan, run: Path) -> dict[str, Dataset]:
    found = {}
    for path in sorted((run / "data").glob("*.json")):
        content = _read(path)
        source = plan.config.data.get(content["name"])
        found[content["name"]] = Dataset(
            source="its own" if source is None else source.source,
            train=content["train"],
            test=content["test"],
            classes=len(content["classes"]),
            fingerprint=content["fingerprint"],
        )
    return found
