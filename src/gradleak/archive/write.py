"""Writes an archive: the results of a finished run, without images and without paths of the machine."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from gradleak.archive.provenance import Dataset, Job, Provenance, gather, jobs_of, number_of, sum_up
from gradleak.archive.read import Archive
from gradleak.archive.victims import Victims, join_victims, victim_checksums
from gradleak.data.base import DEFAULT_CACHE
from gradleak.errors import UserError
from gradleak.files import write_files
from gradleak.names import STUDIES_RESERVED, check_name
from gradleak.parquet import read_parquet
from gradleak.study.config import Config
from gradleak.study.plan import Batch, Plan
from gradleak.study.reused import MANIFEST, PLAN, PROVENANCE, RESULTS, manifest_text


def write_archive(run: Path, out: Path, drop: bool = False) -> list[Path]:
    """Archive a finished run's folder `results/<study>`: plan, results, provenance, and their manifest.

    The archive is of the study of its folder's name, whatever the run was called.
    No image is archived, neither victims nor reconstructions, only victims' checksums. Of archives that the run
    reuses, what belongs to the reused cells becomes part of this one. An archive in `out` is replaced; with `drop` even
    if it has cells that the run has not. Raises UserError if it has such cells otherwise, the run is not finished, a
    cell of the plan has no rows, both folders are the same, or a reused archive has changed since the run was planned,
    and for a folder whose name a study must not have.
    """
    if run.resolve() == out.resolve():
        raise UserError(f"{out}: is the run's own folder; archive it into another")
    name = check_name(out.resolve().name, f"{out}: the archive's study", STUDIES_RESERVED)
    plan = Plan.read(run / PLAN)
    results = read_parquet(run / RESULTS)
    if set(results["cell_id"]) != plan.cells.keys():
        raise UserError(f"{run / RESULTS}: does not hold the cells of {PLAN}; run the study to its end")
    lost = set() if drop else _archived(out) - plan.cells.keys()
    if lost:
        raise UserError(
            f"{out}: has {len(lost)} cells that {run} has not; archive into another folder, reuse {out} in a run of a "
            "study that has them, or give --drop to lose them"
        )
    victims = []
    if plan.batches:  # of each batch: a run that draws nothing does not join them
        columns = ["cell_id", "image", "truth_png"]
        pictures = [read_parquet(run / "images" / f"{batch}.parquet", columns) for batch in plan.batches]
        victims = victim_checksums(plan.cells.values(), pd.concat(pictures, ignore_index=True))
    joined, provenance = join_archives(plan, gather(plan, run, len(results), victims))
    published = replace(joined, study=name, config=_as_archived(joined.config, name))
    contents = {
        PLAN: published.text().encode(),
        RESULTS: (run / RESULTS).read_bytes(),
        PROVENANCE: provenance.model_copy(update={"study": name}).text().encode(),
    }
    # The manifest comes last: what is half written does not fit it.
    return write_files(out, contents | {MANIFEST: manifest_text(contents).encode()})


def _archived(folder: Path) -> set[str]:
    """The cells that an archive has results of. None where there is none, or its results cannot be read."""
    try:
        return set(read_parquet(folder / RESULTS, ["cell_id"])["cell_id"])
    except UserError:
        return set()


def _as_archived(config: Config, study: str) -> Config:
    """Settings without paths of the machine, and without what was said of one run only."""
    data = {name: source.model_copy(update={"path": None}) for name, source in config.data.items()}
    run = {"run": None, "minutes": None}
    return config.model_copy(update={"study": study, "cache": DEFAULT_CACHE, "data": data, **run})


def join_archives(plan: Plan, provenance: Provenance) -> tuple[Plan, Provenance]:
    """Plan and provenance of a run with those of the archives that it reuses.

    Batches stay as they were computed, with all their cells, because `gradleak verify` computes whole runs again.
    `Batch.held` says which of their cells the results have. Afterwards nothing refers to another archive.

    Raises UserError for an archive that is not the one that was planned with, for other data behind one name, and where
    two archives have parts of one batch that each computed itself.
    """
    joined = replace(plan, reused=(), config=plan.config.model_copy(update={"reuse": ()}))
    for entry in plan.reused:
        archive = Archive(entry.folder())
        kept = _kept(archive.plan, set(entry.cells))
        both = joined.batches.keys() & kept.batches.keys()
        if apart := [name for name in both if not _same_job(name, provenance, archive.provenance)]:
            raise UserError(
                f"{entry.archive}: batch {min(apart)} is in another reused archive too, computed there again; "
                "reuse one of them"
            )
        joined = _plans(joined, kept)
        provenance = _provenances(plan, provenance, archive.provenance, kept, entry.archive)
    return joined, provenance


def _same_job(batch: str, first: Provenance, second: Provenance) -> bool:
    """Whether both have a batch from one job: one archive has reused the other's cells, or both a third one's."""
    ours, theirs = (provenance.jobs.get("reconstruct", {}).get(batch) for provenance in (first, second))
    if ours is None or theirs is None or ours.seconds != theirs.seconds:
        return False
    return first.environments[ours.environment] == second.environments[theirs.environment]


def _kept(whole: Plan, taken: set[str]) -> Plan:
    """The part of an archive's plan that the reused cells need: their batches, trainings and auxiliary models."""
    batches = {}
    for name, batch in whole.batches.items():
        held = [cell for cell in (batch.cells if batch.held is None else batch.held) if cell in taken]
        if held:
            batches[name] = replace(batch, held=None if len(held) == len(batch.cells) else held)
    cells = {cell: whole.cells[cell] for batch in batches.values() for cell in batch.cells}
    attackers = {cell.checkpoint: name for name, cell in reversed(cells.items())}
    needed = dict.fromkeys(name for batch in batches.values() for name in batch.checkpoints)
    checkpoints = {name: attackers[whole.cells[whole.checkpoints[name]].checkpoint] for name in needed}
    trainings = {name: [one for one in found if one in needed] for name, found in whole.trainings.items()}
    return replace(
        whole,
        cells=cells,
        batches=batches,
        checkpoints=checkpoints,
        trainings={name: found for name, found in trainings.items() if found},
        auxiliaries={name: whole.auxiliaries[name] for batch in batches.values() for name in batch.auxiliaries},
    )


def _plans(first: Plan, second: Plan) -> Plan:
    """Both plans in one. Titles, experiments and settings are the first's."""
    checkpoints = first.checkpoints | second.checkpoints | first.checkpoints  # in order, and the first's counts
    cells = first.cells | second.cells
    trainings = {}
    for name in first.trainings | second.trainings:
        rounds = {*first.trainings.get(name, ()), *second.trainings.get(name, ())}
        trainings[name] = sorted(rounds, key=lambda checkpoint: cells[checkpoints[checkpoint]].model.round)
    return replace(
        first,
        config=first.config.model_copy(update={"data": second.config.data | first.config.data}),
        cells=cells,
        batches=first.batches | second.batches | _whole(first, second),
        checkpoints=checkpoints,
        trainings=trainings,
        auxiliaries=first.auxiliaries | second.auxiliaries,
    )


def _whole(first: Plan, second: Plan) -> dict[str, Batch]:
    """The batches of which both plans hold cells, with all that either holds."""
    found = {}
    for name in first.batches.keys() & second.batches.keys():
        batch = first.batches[name]
        parts = [own.cells if own.held is None else own.held for own in (batch, second.batches[name])]
        held = [cell for cell in batch.cells if any(cell in part for part in parts)]
        found[name] = replace(batch, held=None if len(held) == len(batch.cells) else held)
    return found


def _provenances(plan: Plan, first: Provenance, second: Provenance, kept: Plan, where: str) -> Provenance:
    """The first provenance, with the jobs, data sets and victims of a plan that the second has."""
    environments = list(first.environments)

    def number(theirs: int) -> int:
        return number_of(second.environments[theirs], environments)

    jobs = {stage: dict(found) for stage, found in first.jobs.items()}
    for stage, names in jobs_of(kept).items():
        known = second.jobs.get(stage, {})
        for name in (name for name in names if name in known):
            jobs.setdefault(stage, {})
            jobs[stage][name] = _job(jobs[stage].get(name), known[name], number)
    names = {name for cell in kept.cells.values() for name in cell.datasets}
    data = _data(first.data, {name: found for name, found in second.data.items() if name in names}, where)
    victims = join_victims(first.victims, _needed(second.victims, kept))
    return sum_up(plan, first.rows, data, victims, environments, jobs)


def _job(ours: Job | None, theirs: Job, number: Callable[[int], int]) -> Job:
    """A job of an archive with its joined environment. A training that both computed is ours, and names both places."""
    places = [number(place) for place in (theirs.environment, *theirs.again)]
    if ours is None:
        return theirs.model_copy(update={"environment": places[0], "again": places[1:]})
    again = dict.fromkeys(place for place in (*ours.again, *places) if place != ours.environment)
    return ours.model_copy(update={"again": list(again), "seconds": max(ours.seconds, theirs.seconds)})


def _data(ours: Mapping[str, Dataset], theirs: Mapping[str, Dataset], where: str) -> dict[str, Dataset]:
    for name in ours.keys() & theirs.keys():
        if ours[name].fingerprint != theirs[name].fingerprint:
            raise UserError(f"data set '{name}': the cells reused from {where} were computed with another one")
    return dict(sorted({**theirs, **ours}.items()))


def _needed(victims: list[Victims], kept: Plan) -> list[Victims]:
    """The checksums of the victims of a plan's cells."""
    found = []
    for entry in victims:
        own = {index for cell in kept.cells.values() if cell.dataset == entry.dataset for index in cell.victims}
        found.append(Victims(dataset=entry.dataset, images={i: v for i, v in entry.images.items() if i in own}))
    return [entry for entry in found if entry.images]
