"""Stage `score`: matches reconstructions to victims and measures them: one row per reconstructed image."""

import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gradleak.data.pictures import png
from gradleak.errors import UserError
from gradleak.files import write_provenance
from gradleak.metrics.base import Scorer
from gradleak.metrics.matching import match
from gradleak.models.facts import model_facts
from gradleak.parquet import write_parquet
from gradleak.post_processing.privacy import DELTA, local_epsilon
from gradleak.stages.common import dataset_of
from gradleak.stages.ground_truth import truth_columns
from gradleak.study.cell import Cell
from gradleak.study.plan import Plan


def write_scores(plan: Plan, batch: str, reconstructions: Path, out: Path, images: Path) -> None:
    """Score a batch: rows to `out`; victim and chosen reconstruction as PNG to `images`, both Parquet."""
    started = time.time()
    scorer = Scorer(plan.config.cache)
    rows: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    try:
        with safe_open(reconstructions, framework="pt") as stream:
            read, names = stream.get_tensor, set(stream.keys())
            for family in plan.families(batch):
                first = family[0]
                dataset = dataset_of(first, plan.config)
                facts = model_facts(first.model, dataset.num_classes, first.dataset.resolution, first.attack.matched())
                for cell in family:
                    truth = dataset.images("test", cell.victims)
                    labels = dataset.labels("test", cell.victims)
                    results = read(f"{cell.id}/images"), read(f"{cell.id}/objective"), read(f"{cell.id}/iterations")
                    unattacked = next(iter(_under(names, f"{cell.id}/unattacked/")), None)
                    cell_rows, cell_pictures = score_cell(cell, truth, labels, *results, scorer, unattacked)
                    sent = update_facts(cell, stream, names)
                    rows += [{**row, **facts, **sent[row["restart"]]} for row in cell_rows]
                    pictures += cell_pictures
    except (OSError, SafetensorError) as error:
        raise UserError(f"{reconstructions}: cannot be read ({error}); run `gradleak reconstruct`") from None
    write_parquet(pd.DataFrame(pictures), images)
    write_parquet(pd.DataFrame(rows), out)
    write_provenance(out, started, batch=batch, settings=plan.config.numerics)


def update_facts(cell: Cell, tensors: Any, names: Collection[str]) -> list[dict[str, Any]]:
    """Columns of what was shared, for each start of the attack: those of `truth_columns`, `update_bytes` on the wire
    and its local-DP `epsilon` at `epsilon_delta`.

    NaN where the post-processing gives no epsilon (see `local_epsilon`). `tensors`, `names`: an open file with those
    of `pack_update` and, under `points`, where starts matched gradients. Where a client's gradient of some parameters
    is zero, `update_zeros` are these parameters.
    """
    bits = int(tensors.get_tensor(f"{cell.id}/update_bits"))
    epsilon = local_epsilon(cell.post_processing)
    zeros = ", ".join(_under(names, f"{cell.id}/zero/"))
    columns = {
        "update_bytes": -(-bits // 8),
        "epsilon": math.nan if epsilon is None else epsilon,
        "epsilon_delta": math.nan if epsilon is None else DELTA,
        **({"update_zeros": zeros} if zeros else {}),
    }
    return [columns | found for found in truth_columns(cell, tensors, names)]


def _under(names: Collection[str], prefix: str) -> list[str]:
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def score_cell(
    cell: Cell,
    truth: Tensor,
    labels: Tensor,
    reconstructed: Tensor,
    objective: Tensor,
    iterations: Tensor,
    scorer: Scorer,
    unattacked: str | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and pictures of one cell.

    truth: (N, C, H, W); labels (N,); reconstructed: (R, N, C, H, W), in any order inside a batch; objective and
    iterations (R,). Grey images (C = 1) are compared as colour images of three equal channels. The chosen restart is
    the one with the lowest objective: no metric has a say in it. unattacked: why the cell was not attacked; it has
    this as a column then, and no metrics (NaN).
    """
    factors = cell.factors()
    chosen = int(objective.argmin())
    truth, reconstructed = truth.expand(-1, 3, -1, -1), reconstructed.expand(-1, -1, 3, -1, -1)
    matched = torch.stack([images[match(truth, images)] for images in reconstructed])
    restarts, samples = matched.shape[:2]
    scores = scorer(truth.repeat(restarts, 1, 1, 1), matched.flatten(0, 1))
    facts = {}
    if unattacked is not None:
        scores = {name: torch.full_like(values, math.nan) for name, values in scores.items()}
        facts = {"unattacked": unattacked}
    rows, pictures = [], []
    for index in range(restarts * samples):
        restart, position = divmod(index, samples)
        row = {
            "cell_id": cell.id,
            "family_id": cell.family,
            **factors,
            "restart": restart,
            "chosen": restart == chosen,
            "position": position,
            "image": cell.victims[position],
            "label": int(labels[position]),
            "objective": float(objective[restart]),
            "iterations": int(iterations[restart]),
            **{name: float(values[index]) for name, values in scores.items()},
            **facts,
        }
        rows.append(row)
        if restart == chosen:
            pictures.append(
                {
                    "cell_id": cell.id,
                    "image": row["image"],
                    "position": position,
                    "label": row["label"],
                    "lpips": row["lpips"],
                    "truth_png": png(truth[position]),
                    "reconstruction_png": png(matched[restart, position]),
                }
            )
    return rows, pictures
