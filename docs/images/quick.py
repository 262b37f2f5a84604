"""Draws README's picture from the results of `make`: python docs/images/quick.py"""

import json
from pathlib import Path

import pandas as pd

from gradleak.analysis.experiment import StudyData
from gradleak.parquet import read_parquet
from gradleak.presentations.read import parse_experiment
from gradleak.presentations.write import render_stage

RESULTS = Path("results/quick")
COLUMNS = {
    "from a gradient": {"attack": "O", "steps": 1},
    "after 16 local steps": {"attack": "O", "steps": 16},
    "the same, matched between both models": {"attack": "O, surrogate", "steps": 16},
}


def main() -> None:
    """Write `docs/images/quick.png`: the first four victims of Table 1 at rate 0.03, and what three servers see."""
    results, images = (read_parquet(RESULTS / f"{name}.parquet") for name in ("results", "images"))
    table1 = json.loads((RESULTS / "plan.json").read_text(encoding="utf-8"))["experiments"]["table1"]
    rows = results.drop_duplicates("cell_id").set_index("cell_id")
    cells = pd.DataFrame({"cell_id": c["cell_id"], "attack": c["labels"]["attack"]} for c in table1["cells"])
    cells = cells.join(rows[["client_lr", "client_steps", "image"]], on="cell_id")
    cells = cells[(cells["client_lr"] == 0.03) & (cells["image"] < 4)]  # the first trial
    chosen = []
    for text, wanted in COLUMNS.items():
        (cell,) = cells["cell_id"][(cells["attack"] == wanted["attack"]) & (cells["client_steps"] == wanted["steps"])]
        chosen.append({"cell_id": cell, "labels": {"reconstructed": text}})
    headings = {"reconstructed": "Reconstructed"}
    show = {"kind": "gallery", "columns": "reconstructed", "victims": 4, "headings": headings}
    experiment = parse_experiment("readme", {"title": "", "cells": chosen, "show": [show]}, "here")
    files = render_stage("figures", experiment, StudyData("quick", results, images))
    Path(__file__).with_suffix(".png").write_bytes(files["readme_gallery.png"])


if __name__ == "__main__":
    main()
