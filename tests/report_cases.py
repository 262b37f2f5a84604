"""A study's files up to its results, without computing: what tests of the stages that report share."""

import io
import json
from pathlib import Path

import pandas as pd
from PIL import Image

LEDGER = """
claims:
  - id: later-worse
    text: Later rounds leak less.
    where: here
    statistic: {kind: trend, experiment: all, over: model_round}
    claimed: above
"""


def write_reported(folder: Path, ledger: Path, show: list[dict] | None = None) -> None:
    """plan.json, results.parquet and images.parquet of two attacks in three rounds on five victims, and a ledger of one
    claim. The experiment `all` shows what `show` says.

    Beside them lies what the results are joined from: shard.parquet, smoothness/b.parquet, trainings/t.parquet.
    """
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 0)).save(picture, "PNG")
    png = picture.getvalue()
    cells: dict[str, object] = {}
    labels, rows, images, igsa = [], [], [], []
    for attack in "AB":
        for number in range(3):
            for trial in range(5):
                name = f"{attack}{number}{trial}"
                cells[name] = {"smoothness": {"method": "forward"}}
                labels.append({"cell_id": name, "labels": {"attack": attack}})
                key = {"cell_id": name, "image": trial, "position": 0, "lpips": 0.1 * number + 0.01 * trial}
                fixed = {"restart": 0, "chosen": True, "model_round": number, "client_samples": 1, "iterations": 9}
                said = {"technique": "None", "strength": "-", "psnr": 20.0 - number, "dataset_name": "photos10"}
                said["epsilon"] = float("nan")
                rows.append(key | fixed | said)
                images.append(key | {"label": 0, "truth_png": png, "reconstruction_png": png})
                igsa.append({"cell_id": name, "igsa": float(10 - number)})
    plan = {
        "study": "small",
        "title": "Small",
        "experiments": {"all": {"title": "All", "paper": "-", "show": show or [], "cells": labels}},
        "cells": cells,
        "batches": {"b": {"cells": list(cells)}},
        "trainings": {"t": []},
        "accuracies": {name: ["t", int(name[1])] for name in cells},
        "columns": {"lpips": {"label": "Distance", "better": "lower", "digits": 2}},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    ledger.write_text(LEDGER)
    for name, content in {
        "shard": rows,
        "results": rows,
        "images": images,
        "smoothness/b": igsa,
        "trainings/t": [{"round": number, "accuracy": 0.5 + 0.1 * number} for number in range(3)],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(content).to_parquet(folder / f"{name}.parquet")
