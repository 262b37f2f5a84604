"""The runs of an audit: each attack on each round's updates after each post-processing, finished ones kept."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from gradleak.attacks.base import RunContext
from gradleak.attacks.labels import infer_labels, share_right
from gradleak.audit.images import AuditImages
from gradleak.audit.model import attackable
from gradleak.audit.source import open_network, weights_digest
from gradleak.audit.spec import AuditAttack, AuditSpec, Normalisation, defense_title
from gradleak.audit.words import zeros_words
from gradleak.engine.device import precision
from gradleak.files import sha256 as file_sha256
from gradleak.frozen import digest
from gradleak.metrics.backbone import fetch_backbone
from gradleak.metrics.base import METRICS, Scorer
from gradleak.models.base import Classifier
from gradleak.models.facts import facts_of
from gradleak.parquet import read_parquet, write_parquet
from gradleak.pipeline.code import code_files
from gradleak.post_processing.base import Defense
from gradleak.post_processing.chain import origins
from gradleak.specs import DatasetSpec, ModelSpec
from gradleak.stages.auxiliaries import auxiliary_loader
from gradleak.stages.reconstruct import attack_family
from gradleak.stages.score import score_cell, update_facts
from gradleak.stages.session import Session
from gradleak.stages.single import train_missing
from gradleak.stages.update import InMemory, pack_update, unpack_update
from gradleak.stopping import Stopped
from gradleak.study.cell import Cell
from gradleak.study.config import Config

# Of a cell's factors, what says nothing of a model that comes with its weights.
_NOT_THE_USERS = [
    "model_name",
    "model_width",
    "model_round",
    "model_init_seed",
    "dataset_classes",
    "dataset_label_space",
]


@dataclass(frozen=True)
class Received:
    """The model of one round as the clients receive it.

    `weights` is the hash of its weights; `notes` say what was decided when they were read.
    """

    round: str
    model: Classifier
    weights: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """All runs of an audit: `rows`, one per reconstruction, and `pictures`, PNG bytes of what each restart chose.

    `notes` say in a line each what of the user's files was not read as it stands.
    """

    rows: pd.DataFrame
    pictures: pd.DataFrame
    received: list[Received]
    fingerprint: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Client:
    """A cell with its client's images (N, 3, r, r) in [0, 1] and labels (N,)."""

    cell: Cell
    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Run:
    """One attack on the trials of one round and post-processing: its cells are vectorised together.

    `code` is the hash of the package's code that computes it, taken before the first attack.
    """

    received: Received
    chain: tuple[Defense, ...]
    attack: AuditAttack
    cells: list[Cell]
    code: str

    @property
    def labels(self) -> dict[str, str]:
        """What the page calls it."""
        return {
            "audit_round": self.received.round,
            "audit_defense": defense_title(self.chain),
            "audit_attack": self.attack.title,
        }


def run_all(spec: AuditSpec, config: Config, out: Path, session: Session) -> Found:
    """Do all runs. Each is kept under `out/runs` under the hash of what decides it, and not done again.

    Everything is read and checked before the first attack. A run that is cut off goes on from its last saved state.
    """
    images = AuditImages(spec.images, spec.model.channels, config)
    victims = images.draw(spec.trials, spec.client.samples, spec.seed)
    received = list(_received(spec, images, session.device))
    images.check(received[0].model.num_classes)
    runs = list(_runs(spec, images.name, received, victims))
    scorer = Scorer(fetch_backbone(config.cache).parent)
    count = session.progress("attacks", sum(run.attack.config.total_iterations for run in runs))
    auxiliaries = config.cache / "auxiliary"
    parts = []
    for run in runs:
        clients = [Client(cell, images.images(cell.victims), images.labels(cell.victims)) for cell in run.cells]
        content = _shared(run, clients)
        kept = Kept(out / "runs", _key(run, content))
        part = kept.read()
        if part is None:
            train_missing(run.cells[0], config, auxiliaries, session)
            loader = auxiliary_loader(config, auxiliaries)
            context = RunContext(session.device, kept.state, config.jobs.save_every_s, count, session.stop, loader)
            part = _attacked(run, clients, content, context, scorer)
            kept.write(*part)
        else:
            count(run.attack.config.total_iterations)
        parts.append([frame.assign(**run.labels)[[*run.labels, *frame.columns]] for frame in part])
        if session.stop():
            raise Stopped(f"{out}: finished runs are kept")
    rows, pictures = (pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
    notes = (
        *images.notes,
        *(note for model in received for note in model.notes),
        *_zero_notes(rows),
        *_label_notes(rows),
    )
    return Found(rows, pictures, received, images.dataset.fingerprint(), notes)


def _zero_notes(rows: pd.DataFrame) -> Iterator[str]:
    """A note for each set of parameters whose gradient is zero in some client's update, and the rounds where it is."""
    found = rows.dropna(subset="update_zeros") if "update_zeros" in rows else rows[:0]
    for zeros, own in found.groupby("update_zeros") if len(found) else ():
        yield zeros_words(str(zeros).split(", "), list(dict.fromkeys(own["audit_round"])))


def _label_notes(rows: pd.DataFrame) -> Iterator[str]:
    """A note for each round and defense where attacks infer labels that are not all right."""
    found = rows.dropna(subset="labels_right") if "labels_right" in rows else rows[:0]
    for (number, defense), own in found.groupby(["audit_round", "audit_defense"], sort=False) if len(found) else ():
        share = float(own["labels_right"].mean())
        if share < 1:
            yield f"round {number}, {defense}: {share:.0%} of the labels that attacks infer are right"


def _shared(run: Run, clients: list[Client]) -> InMemory:
    """What the clients share, as stage `update` packs it."""
    model = run.received.model.to("cpu")
    content = InMemory()
    for client in clients:
        content.update(pack_update(client.cell, model, client.images, client.labels))
    return content


def _attacked(
    run: Run, clients: list[Client], content: InMemory, context: RunContext, scorer: Scorer
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attack what was shared and score it: rows and pictures."""
    model = run.received.model
    updates = [unpack_update(cell, content, set(content), model) for cell in run.cells]
    found = attack_family(run.cells, updates, context)
    facts = facts_of(model, run.attack.config.matched())
    rows: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for trial, client in enumerate(clients):
        results = found.images[trial], found.objective[trial], found.iterations[trial]
        unattacked = found.unattacked.get(trial)
        scored, pairs = score_cell(client.cell, client.images, client.labels, *results, scorer, unattacked)
        if found.points is not None:
            content[f"{client.cell.id}/points"] = found.points[trial]
        sent = update_facts(client.cell, content, content)
        beside: dict[str, Any] = {"trial": trial, **facts}
        if run.attack.config.labels == "inferred" and unattacked is None:
            beside["labels_right"] = share_right(infer_labels(updates[trial]), client.labels)
        rows += [{**row, **sent[row["restart"]], **beside} for row in scored]
        pictures += [{**pair, "trial": trial} for pair in pairs]
    return pd.DataFrame(rows).drop(columns=_NOT_THE_USERS), pd.DataFrame(pictures)


def _received(spec: AuditSpec, images: AuditImages, device: str) -> Iterator[Received]:
    dataset = images.dataset
    default = None if spec.model.name is None else Normalisation(mean=dataset.mean, std=dataset.std)
    for checkpoint in spec.checkpoints:
        opened = open_network(spec.model, checkpoint, len(images.class_names), spec.images.resolution, spec.seed)
        weights = weights_digest(opened.network)
        normalise = spec.model.normalise or opened.normalise or default
        resolution, mode = spec.images.resolution, spec.client.bn_mode
        channels, sizes = spec.model.channels, spec.batch_sizes
        model = attackable(opened.network, normalise, resolution, mode, channels, sizes, device)
        yield Received(str(checkpoint.round), model, weights, (*opened.notes, *model.notes))


def _runs(spec: AuditSpec, dataset: str, received: list[Received], victims: list[tuple[int, ...]]) -> Iterator[Run]:
    """All runs, without those that a run with less knowledge stands for."""
    for model in received:
        own = ModelSpec(name="own", options={"weights": model.weights}, channels=spec.model.channels)
        for chain in spec.defenses:
            for attack in spec.attacks:
                if spec.stand_in(attack, chain) is attack:
                    cells = [
                        Cell(
                            dataset=DatasetSpec(name=dataset, resolution=spec.images.resolution),
                            model=own,
                            client=spec.client,
                            post_processing=chain,
                            attack=attack.config,
                            knowledge_level=attack.level,
                            victims=drawn,
                            seed=spec.seed,
                        )
                        for drawn in victims
                    ]
                    yield Run(model, chain, attack, cells, _code(attack, chain))


def _key(run: Run, content: InMemory) -> str:
    """Hash of all that decides a run: cells, what clients shared (hence the model's code), our code, the precision."""
    shared = sha256()
    for name in sorted(content):
        shared.update(f"{name}\n".encode())
        shared.update(content[name].contiguous().numpy().tobytes())
    return digest([[cell.id for cell in run.cells], shared.hexdigest(), run.code, precision()])


def _code(attack: AuditAttack, chain: tuple[Defense, ...]) -> str:
    modules = ["gradleak.audit.run", *attack.config.origins(), *origins(chain)]
    modules += [METRICS.origin(name) for name in METRICS]
    return digest([file_sha256(Path(path)) for path in code_files(modules)])


class Kept:
    """What a finished run found, as two Parquet files, and the state of one that was cut off."""

    def __init__(self, folder: Path, key: str) -> None:
        self._rows, self._pictures = folder / f"{key}.parquet", folder / f"{key}.images.parquet"
        self.state = folder / f"{key}.state"

    def read(self) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Rows and pictures of a finished run, or None."""
        if not self._rows.exists():
            return None
        return read_parquet(self._rows), read_parquet(self._pictures)

    def write(self, rows: pd.DataFrame, pictures: pd.DataFrame) -> None:
        """Keep them. The rows come last: if they are there, the run is finished."""
        write_parquet(pictures, self._pictures)
        write_parquet(rows, self._rows)
        shutil.rmtree(self.state, ignore_errors=True)
