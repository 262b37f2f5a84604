"""Stage `federate`: a federated training, whose global models of some rounds become checkpoints."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from gradleak.data.base import DATASETS, ImageDataset
from gradleak.data.opening import open_view
from gradleak.data.pool import ImagePool, SplitImages
from gradleak.engine.device import device_facts
from gradleak.federated.training import Accuracy, FederatedTraining
from gradleak.files import write_provenance
from gradleak.frozen import digest, flatten
from gradleak.models.base import MODELS, Classifier
from gradleak.parquet import write_parquet
from gradleak.pipeline.code import code_digest
from gradleak.post_processing.chain import origins
from gradleak.specs import FederatedSpec
from gradleak.stages.common import checkpoint_path, global_model, initial_model
from gradleak.stages.rounds import Rounds
from gradleak.stages.session import Session
from gradleak.study.ids import training_id

if TYPE_CHECKING:
    from gradleak.study.cell import Cell
    from gradleak.study.config import Config


def write_training(cell: "Cell", rounds: Mapping[int, Path], config: "Config", out: Path, session: Session) -> None:
    """Run the training of a cell's model and write the checkpoints of some rounds, and accuracies as Parquet to `out`.

    `rounds` says which and where. The training ends with the last of them. Finished rounds are kept in `<out>.state/`,
    also afterwards: a killed training goes on from its last round, a longer one from where the shorter ended, and both
    write the same bytes as one that was never interrupted. What is kept is not used once code, data, device or settings
    that decide bits have changed.
    """
    started = time.time()
    spec = cell.model.training
    assert spec is not None
    dataset = open_view(cell.training_data, config.data, config.cache, cell.model.channels)
    identity = digest([_identity(cell, config, dataset), session.device, config.numerics])
    kept = Rounds(out.with_name(out.name + ".state"), identity)
    begin, end = kept.start(rounds), max(rounds)
    model = initial_model(cell, dataset)
    if begin:
        kept.load(begin, model)
    accuracies = kept.accuracies(begin) if begin else []
    if begin < end:
        count = session.progress(f"federated training {cell.model.name}", end * spec.participants)
        count(begin * spec.participants)
        train, test = _pools(dataset, spec, session.device)
        model.to(session.device)
        training = FederatedTraining(model, train, spec, cell.training, progress=count)
        if not begin:
            accuracies = [training.evaluate(test, 0)]
        for number in range(begin + 1, end + 1):
            training.run_round(number)
            accuracies.append(training.evaluate(test, number))
            kept.save(number, model, accuracies, rounds)
    facts = {
        **device_facts(session.device),
        "settings": config.numerics,
        "data": {dataset.name: dataset.fingerprint()},
        "training": training_id(cell, config),
        "model": cell.model.model_dump(mode="json", exclude={"round"}),
    }
    for number, path in rounds.items():
        kept.publish(number, path)
        write_provenance(path, started, round=number, **facts)
    write_parquet(_frame(cell, config, accuracies[: end + 1]), out)
    write_provenance(out, started, first_round=begin + 1, **facts)


def model_of(cell: "Cell", config: "Config", checkpoints: Path, session: Session) -> Classifier:
    """The global model that the client received. A round that the folder lacks is trained first.

    Round 0 needs no folder. Accuracies go to the folder `trainings` beside it.
    """
    path = checkpoint_path(checkpoints, cell, config)
    if cell.model.round and not path.exists():
        out = checkpoints.with_name("trainings") / f"{training_id(cell, config)}.parquet"
        write_training(cell, {cell.model.round: path}, config, out, session)
    return global_model(cell, config, checkpoints)


def _pools(dataset: ImageDataset, spec: FederatedSpec, device: str) -> tuple[ImagePool, ImagePool]:
    """The images of all clients, and those that accuracy is measured on."""
    train = SplitImages(dataset, "train", spec.images, spec.seed, "model.training.images")
    test = SplitImages(dataset, "test", spec.evaluate, spec.seed, "model.training.evaluate")
    return ImagePool(train, device), ImagePool(test, device)


def _identity(cell: "Cell", config: "Config", dataset: ImageDataset) -> str:
    """Hash of the training, the data, and the code that computes it."""
    modules = ["gradleak.stages.federate", MODELS.origin(cell.model.name)]
    modules += [DATASETS.origin(dataset.name)] if dataset.name in DATASETS else []
    assert cell.model.training is not None
    modules += origins(cell.model.training.post_processing)
    return digest([training_id(cell, config), dataset.fingerprint(), code_digest(modules)])


def _frame(cell: "Cell", config: "Config", accuracies: list[Accuracy]) -> pd.DataFrame:
    """One row per round: the training's factors, number of test images, accuracy and loss."""
    assert cell.model.training is not None
    content = cell.model_dump(mode="json", include={"model": True})
    content["model"]["training"] = cell.model.training.columns()
    del content["model"]["round"], content["model"]["training"]["rounds"]
    content["dataset"] = {"name": cell.training_data.name, "resolution": cell.training_data.resolution}
    factors = {"training_id": training_id(cell, config), **dict(flatten(content))}
    return pd.DataFrame([{**factors, **asdict(row)} for row in accuracies])
