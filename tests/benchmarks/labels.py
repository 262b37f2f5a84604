"""Share of labels that `gradleak.attacks.labels` infers right, by model, weights, local steps U and defense.

`python tests/benchmarks/labels.py` draws batches of test images of photos10 at 32 pixels, or of `--dataset` from the
sources of `--config`. For each U it averages over several N, B and E, the rates 0.01 and 0.1, and the draws, and prints
a Markdown table. Labels count as a multiset: of N, those that the inferred ones have in common with the true ones.
`B, E known` is knowledge level 3, `U known` any below. Trained weights are from SGD on train images.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from gradleak.attacks.labels import infer_label_counts
from gradleak.data.base import ImageDataset
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.base import Classifier, build_model
from gradleak.post_processing.chain import Chain, apply_chain
from gradleak.specs import ClientSpec, ModelSpec
from gradleak.study.config import Config, load_config

RESOLUTION = 32
MODELS = {"ConvNet": ModelSpec(name="convnet"), "ResNet-18, width 0.25": ModelSpec(name="resnet18", width=0.25)}
#: Columns of the table, each with N, B and E of its clients.
CLIENTS = {
    "U = 1": [(8, 8, 1), (64, 64, 1)],
    "2": [(8, 4, 1), (32, 16, 1)],
    "4": [(8, 8, 4), (32, 8, 1)],
    "8": [(64, 8, 1), (16, 8, 4)],
    "16": [(64, 4, 1), (16, 4, 4)],
    "remainder": [(9, 8, 1), (10, 4, 1), (20, 8, 2), (30, 16, 2)],
}
DEFENSES = {
    "none": "none",
    "qsgd, 2 bits": {"name": "qsgd", "bits": 2},
    "noise 0.01": {"name": "noise", "multiplier": 0.01},
}


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    sources = load_config(arguments.config).data if arguments.config else Config().data
    dataset = open_dataset(arguments.dataset, RESOLUTION, sources)
    print(f"| model | weights | defense | known | {' | '.join(CLIENTS)} |\n{'|---' * (4 + len(CLIENTS))}|")
    for title, spec in MODELS.items():
        for trained in (False, True):
            models = [_model(dataset, spec, seed, arguments.steps if trained else 0) for seed in range(arguments.draws)]
            for defense, chain in DEFENSES.items():
                cells = _measure(dataset, models, chain)
                for known, shares in cells.items():
                    row = " | ".join(f"{100 * sum(shares[key]) / len(shares[key]):.1f}" for key in CLIENTS)
                    weights = "trained" if trained else "untrained"
                    print(f"| {title} | {weights} | {defense} | {known} | {row} |", flush=True)


def _measure(dataset: ImageDataset, models: list[Classifier], chain: object) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {"B, E": defaultdict(list), "U": defaultdict(list)}
    for column, clients in CLIENTS.items():
        for samples, batch_size, epochs in clients:
            for lr in (0.01, 0.1):
                for draw, model in enumerate(models):
                    random = torch.Generator().manual_seed(1000 * draw + samples)
                    chosen = torch.randint(dataset.size("test"), (samples,), generator=random).tolist()
                    images, labels = dataset.images("test", chosen), dataset.labels("test", chosen)
                    client = ClientSpec(samples=samples, batch_size=batch_size, epochs=epochs, lr=lr)
                    sent = apply_chain(
                        TypeAdapter(Chain).validate_python(chain), local_update(model, images, labels, client), random
                    ).update
                    shape = (3, RESOLUTION, RESOLUTION)
                    training = LocalTraining(batch_size, epochs, lr)
                    update = SharedUpdate(sent, model, 0, samples, shape, dataset.num_classes, training=training)
                    if not all(bool(value.isfinite().all()) for value in sent.values()):
                        continue  # the client's training diverged
                    for known, seen in {"B, E": update, "U": update.restricted(0)}.items():
                        try:
                            counts = infer_label_counts(seen)
                        except UserError:  # says that nothing can be inferred: nothing is right
                            counts = torch.zeros(dataset.num_classes, dtype=torch.int64)
                        true = torch.bincount(labels, minlength=dataset.num_classes)
                        found[known][column].append(int(torch.minimum(counts, true).sum()) / samples)
    return found


def _model(dataset: ImageDataset, spec: ModelSpec, seed: int, steps: int) -> Classifier:
    seeded = spec.model_copy(update={"init_seed": seed})
    model = build_model(seeded, dataset.num_classes, RESOLUTION, dataset.mean, dataset.std)
    if not steps:
        return model
    descent = torch.optim.SGD(model.train().parameters(), lr=0.02, momentum=0.9)
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(dataset.size("train"), (64,), generator=random).tolist()
        descent.zero_grad()
        F.cross_entropy(model(dataset.images("train", rows)), dataset.labels("train", rows)).backward()
        descent.step()
    return model.eval()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="photos10")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100, help="SGD steps of the trained weights")
    return parser.parse_args()


if __name__ == "__main__":
    main()
