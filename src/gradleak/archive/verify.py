"""Verifies an archive: draws cells, computes them again on the same pixels, and compares."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from gradleak.archive.read import Archive, Run, kind_of
from gradleak.archive.victims import check_victims
from gradleak.data.base import ImageDataset
from gradleak.data.opening import open_view
from gradleak.engine.device import device_facts
from gradleak.errors import UserError
from gradleak.frozen import digest
from gradleak.metrics.base import columns
from gradleak.parquet import read_parquet
from gradleak.specs import DatasetSpec
from gradleak.stages.federate import write_training
from gradleak.stages.pretrain import write_auxiliary
from gradleak.stages.reconstruct import write_reconstructions
from gradleak.stages.score import write_scores
from gradleak.stages.session import Session
from gradleak.stages.update import write_updates
from gradleak.study.cell import Cell
from gradleak.study.config import Config, JobConfig
from gradleak.study.cost import batch_cost, recorded_throughput
from gradleak.study.expand import Experiment, Study
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan

#: How far an image may be from the archive's where it need not be equal bit for bit, LPIPS and PSNR in dB; for a mean
#: over n images, this divided by the square root of n. docs/reference.md has the measurement behind it.
TOLERANCE = {"lpips": 0.1, "psnr": 4.0}
_ROUND = ("torch", "gradleak")  # packages that decide the last bits
SHOWN = ("lpips", "psnr", "objective")
_KEYS = ["cell_id", "restart", "position"]


@dataclass(frozen=True)
class Comparison:
    """One cell computed again beside the archive's.

    means: of the chosen restart's images, ours and the archive's, for `SHOWN`. identical: all restarts of all images
    have the same objective, iterations, label and metrics, bit for bit. agrees: what was asked of it holds.
    """

    cell: str
    images: int
    means: Mapping[str, tuple[float, float]]
    identical: bool
    agrees: bool

    @property
    def verdict(self) -> str:
        """`identical`, `within tolerance` or `differs`."""
        return "differs" if not self.agrees else "identical" if self.identical else "within tolerance"


def compare(ours: pd.DataFrame, archived: pd.DataFrame, exact: bool) -> list[Comparison]:
    """Compare the rows of one run's cells, as in results.parquet.

    If `exact`, they must be bit-identical. Otherwise the means of each cell and of the run must be within `TOLERANCE`.
    """
    theirs = archived[archived["cell_id"].isin(ours["cell_id"])]
    run_near = _near(ours, theirs)
    found = []
    for cell, rows in ours.groupby("cell_id", sort=False):
        others = theirs[theirs["cell_id"] == cell]
        identical = _identical(rows, others)
        agrees = identical if exact else run_near and _near(rows, others)
        means = {name: (_mean(rows, name), _mean(others, name)) for name in SHOWN}
        found.append(Comparison(str(cell), int(rows["chosen"].sum()), means, identical, agrees))
    return found


def _identical(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    names = [*_KEYS, "objective", "iterations", "label", *(name for name in columns() if name in theirs)]
    one, other = (frame.sort_values(_KEYS)[names].reset_index(drop=True) for frame in (ours, theirs))
    return one.equals(other.astype(one.dtypes))


def _near(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    limits = {name: limit / math.sqrt(ours["chosen"].sum()) for name, limit in TOLERANCE.items()}
    return len(ours) == len(theirs) and all(
        abs(_mean(ours, name) - _mean(theirs, name)) <= limit for name, limit in limits.items()
    )


def _mean(rows: pd.DataFrame, name: str) -> float:
    return float(rows.loc[rows["chosen"].astype(bool), name].mean())


def check_data(archive: Archive, run: Run, config: Config, config_path: Path) -> list[str]:
    """Check the victims of a run. Returns how the data behind its trained models differ from the archived run's.

    Raises UserError for a data set that is not there, naming the config and the checksum, and for a victim with other
    pixels.
    """
    for cell in run.cells:
        check_victims(cell, _open(archive, cell.dataset, config, config_path), archive.provenance.victims)
    learned = [auxiliary.dataset for cell in run.cells for auxiliary in cell.attack.auxiliaries()]
    learned += [cell.training_data for cell in run.cells if cell.model.round]
    differences = []
    for spec in {
        spec.name: spec.model_copy(update={"classes": None, "label_space": None, "labels": None}) for spec in learned
    }.values():
        found = _open(archive, spec, config, config_path).fingerprint()
        if found != archive.provenance.data[spec.name].fingerprint:
            differences.append(f"data set '{spec.name}', which models are trained on, has another checksum")
    return differences


def _open(archive: Archive, spec: DatasetSpec, config: Config, config_path: Path) -> ImageDataset:
    try:
        dataset = open_view(spec, config.data, config.cache)
        dataset.size("test")
    except UserError as error:
        known = archive.provenance.data[spec.name]
        raise UserError(
            f"data set '{spec.name}' is needed and not there ({error}); say under the key 'data' of {config_path} "
            f"where it lies; the archived run had {known.test} test images from source '{known.source}', "
            f"SHA-256 {known.fingerprint}"
        ) from None
    return dataset


def differences(archive: Archive, run: Run, device: str) -> list[str]:
    """Differences in device, threads of a CPU, CPU, torch and gradleak. If there are none, results must be
    bit-identical: a release whose engine rounds otherwise has another version.
    """
    here = {**device_facts(device), **{name: version(name) for name in _ROUND}}
    found = []
    for place in archive.environments(run):
        there = {"device": place.device, "cpu": place.cpu, **{name: place.versions[name] for name in _ROUND}}
        found += [f"{name}: here {here[name]}, there {there[name]}" for name in here if here[name] != there[name]]
    return list(dict.fromkeys(found))


def draw(
    archive: Archive, count: int, seed: int, minutes: float, device: str, data: Collection[str] = ()
) -> list[tuple[str, Run]]:
    """Draw `count` cells of different runs at random, and the run of each.

    Cells are looked at in an order that the seed decides. One is passed over where its run has been drawn, or would
    take, at the recorded pace, longer than is left of `minutes`. With `data`, only runs that need no other data sets
    count. Raises UserError where there are none, or none is cheap enough.
    """
    runs = [run for run in archive.runs if not data or archive.datasets(run) <= set(data)]
    if not runs:
        known = sorted({name for run in archive.runs for name in archive.datasets(run)})
        raise UserError(f"no cell needs only data sets {', '.join(data)}; the archive's are {', '.join(known)}")
    run_of = {cell: run for run in runs for cell in run.compared}
    left = 60 * minutes
    drawn: list[tuple[str, Run]] = []
    for cell in sorted(run_of, key=lambda name: digest([seed, name])):
        seconds = estimate(archive, run_of[cell], device)
        if len(drawn) < count and seconds <= left and all(run is not run_of[cell] for _, run in drawn):
            drawn.append((cell, run_of[cell]))
            left -= seconds
    if count and not drawn:
        cheapest = min(estimate(archive, run, device) for run in runs) / 60
        raise UserError(
            f"no cell can be computed in {minutes:g} minutes; the cheapest takes {cheapest:.1f} (--minutes)"
        )
    return drawn


def estimate(archive: Archive, run: Run, device: str) -> float:
    """Seconds that a run takes here: its recorded seconds, scaled by the throughput of the kinds of devices."""
    then, now = kind_of(archive.environments(run)[0].device), kind_of(device)
    if then == now:
        return run.seconds
    recorded, here = (recorded_throughput()[kind].seconds(batch_cost(run.cells, kind)) for kind in (then, now))
    return run.seconds * here / recorded


def plan_of(cells: list[Cell], config: Config) -> Plan:
    """A plan with one batch of these cells, which agree in data set, model and attack.

    Raises UserError where the data set lacks a victim or class.
    """
    experiment = Experiment("", "", [], [(cell, {}) for cell in cells])
    one_job = config.model_copy(update={"jobs": JobConfig(minutes=math.inf)})
    return make_plan(Study("verify", "", {"cells": experiment}), one_job)


def pictures_of(plan: Plan, folder: Path) -> pd.DataFrame:
    """What `recompute` left of a plan with one batch: victims and chosen reconstructions, as in images.parquet."""
    (batch,) = plan.batches
    return read_parquet(folder / "images" / f"{batch}.parquet")


def recompute(plan: Plan, folder: Path, session: Session) -> pd.DataFrame:
    """Run the stages of a plan with one batch in a folder. Returns the batch's rows as `gradleak score` writes them.

    What the folder holds already of checkpoints, trainings and auxiliary models is kept.
    """
    (batch,) = plan.batches
    checkpoints, auxiliaries = folder / "checkpoints", folder / "auxiliary"
    for training in plan.trainings:
        rounds = {number: checkpoints / f"{name}.safetensors" for number, name in plan.rounds(training).items()}
        out = folder / "trainings" / f"{training}.parquet"
        write_training(plan.training_cell(training), rounds, plan.config, out, session)
    for name, auxiliary in plan.auxiliaries.items():
        path = auxiliaries / f"{name}.safetensors"
        if not path.exists():
            write_auxiliary(auxiliary, plan.config, path, session)
    updates, found = (folder / kind / f"{batch}.safetensors" for kind in ("updates", "reconstructions"))
    write_updates(plan, batch, checkpoints, updates)
    write_reconstructions(plan, batch, updates, checkpoints, auxiliaries, found, session)
    shard, images = folder / "shards" / f"{batch}.parquet", folder / "images" / f"{batch}.parquet"
    write_scores(plan, batch, found, shard, images)
    return read_parquet(shard)
