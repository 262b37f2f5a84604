"""How far local steps drift, without any attack: a client's loss, and the cosine of its update at points on the way.

For each model, rate and number U of full-batch steps: the mean loss of the client's images before and after, the
highest one after, how many clients diverged (loss not finite, or above its start), and the mean cosine of W_0 - W_U
with the gradient of the client's images at W_0 + alpha (W_U - W_0). Each client has test images of its own.
"""

import argparse
from pathlib import Path

import torch

from gradleak.engine.device import prepare_device
from gradleak.models.base import set_bn_mode
from gradleak.stages.common import dataset_of, initial_model
from gradleak.stages.ground_truth import truth_columns
from gradleak.stages.update import InMemory, pack_update
from gradleak.study.cell import Cell
from gradleak.study.config import load_config

MODELS = {
    "convnet": {"name": "convnet", "options": {"channels": 32, "stages": 2, "layers": 1, "kernel": 5, "norm": True}},
    "resnet18": {"name": "resnet18", "options": {"stem": "cifar"}},
}
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def rows(cell: Cell, config_path: Path) -> list[dict[str, float]]:
    """What is known of one client with its true images, at each of the points."""
    config = load_config(config_path)
    dataset = dataset_of(cell, config)
    model = initial_model(cell, dataset)
    set_bn_mode(model, cell.client.bn_mode)
    images, labels = dataset.images("test", cell.victims), dataset.labels("test", cell.victims)
    content = InMemory(pack_update(cell, model, images, labels))
    content[f"{cell.id}/points"] = torch.tensor(ALPHAS, dtype=torch.float64)
    return truth_columns(cell, content, content)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="photos10")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--rates", nargs="+", type=float, default=[0.003, 0.01, 0.03, 0.1])
    parser.add_argument("--steps", nargs="+", type=int, default=[2, 8, 32])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--trials", type=int, default=5)
    given = parser.parse_args()
    prepare_device("cpu", 1, "float32")
    print(
        "| model | rate | U | loss before | after | highest | diverged | " + " | ".join(f"{a:g}" for a in ALPHAS) + " |"
    )
    print("|---" * (7 + len(ALPHAS)) + "|")
    for name in given.models:
        for rate in given.rates:
            for steps in given.steps:
                found = []
                for trial in range(given.trials):
                    content = {
                        "dataset": {"name": given.dataset, "resolution": 32},
                        "model": MODELS[name],
                        "client": {"samples": given.samples, "epochs": steps, "lr": rate},
                        "attack": {"name": "gia-o", "surrogate": {"alpha": list(ALPHAS)}},
                        "victims": list(range(trial * given.samples, (trial + 1) * given.samples)),
                    }
                    found.append(rows(Cell.parse(content, "local_steps"), given.config))
                losses = torch.tensor(
                    [[own[0][f"client_loss_{when}"] for when in ("before", "after")] for own in found]
                )
                cosines = torch.tensor([[row["update_cosine"] for row in own] for own in found]).mean(dim=0)
                diverged = sum("client_diverged" in own[0] for own in found)
                texts = [f"{value:.3f}" for value in cosines.tolist()]
                before, after = losses.mean(dim=0).tolist()
                facts = [f"{before:.2f}", f"{after:.3g}", f"{float(losses[:, 1].max()):.3g}", str(diverged)]
                print("| " + " | ".join([name, f"{rate:g}", str(steps), *facts, *texts]) + " |", flush=True)


if __name__ == "__main__":
    main()
