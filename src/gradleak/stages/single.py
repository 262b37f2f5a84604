"""One cell alone: update, attack, score and a picture, through the same code as the stages."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from gradleak.attacks.base import RunContext
from gradleak.files import atomic
from gradleak.metrics.backbone import fetch_backbone
from gradleak.metrics.base import Scorer
from gradleak.models.facts import model_facts
from gradleak.parquet import write_parquet
from gradleak.stages.auxiliaries import auxiliary_loader
from gradleak.stages.common import dataset_of
from gradleak.stages.federate import model_of
from gradleak.stages.pretrain import write_auxiliary
from gradleak.stages.reconstruct import attack_family
from gradleak.stages.score import score_cell, update_facts
from gradleak.stages.session import Session
from gradleak.stages.smoothness import smoothness_columns
from gradleak.stages.update import InMemory, pack_update, unpack_update
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.ids import auxiliary_id

_TILE = 160


def run_cell(cell: Cell, config: Config, out: Path, session: Session) -> str:
    """Run a cell, write `result.parquet`, `images.parquet` and `picture.png` to `out`. Returns a line of metrics.

    Auxiliary models and the federated round that the cache lacks are trained first. IGSA is measured where the cell
    asks for it.
    """
    dataset = dataset_of(cell, config)
    images, labels = dataset.images("test", cell.victims), dataset.labels("test", cell.victims)
    model = model_of(cell, config, config.cache / "checkpoints", session)
    scorer = Scorer(fetch_backbone(config.cache).parent)
    content = InMemory(pack_update(cell, model, images, labels))
    shared = unpack_update(cell, content, set(content), model)
    folder = config.cache / "auxiliary"
    train_missing(cell, config, folder, session)
    context = RunContext(
        device=session.device,
        progress=session.progress(cell.attack.name, cell.attack.total_iterations),
        auxiliary=auxiliary_loader(config, folder),
    )
    found = attack_family([cell], [shared], context)
    results = found.images[0], found.objective[0], found.iterations[0]
    rows, pictures = score_cell(cell, images, labels, *results, scorer, found.unattacked.get(0))
    igsa = {} if cell.smoothness is None else smoothness_columns(cell, model, images, labels, session.device)
    facts = model_facts(cell.model, dataset.num_classes, cell.dataset.resolution, cell.attack.matched())
    if found.points is not None:
        content[f"{cell.id}/points"] = found.points[0]
    sent = update_facts(cell, content, content)
    frame = pd.DataFrame([{**row, **facts, **sent[row["restart"]], **igsa} for row in rows])
    write_parquet(pd.DataFrame(pictures), out / "images.parquet")
    write_parquet(frame, out / "result.parquet")
    chosen = frame[frame["chosen"]]
    with atomic(out / "picture.png") as temporary:
        _picture(pictures, chosen).save(temporary, format="PNG")
    means = ", ".join(f"{name} {chosen[name].mean():.4f}" for name in ("lpips", "psnr", "ssim", "mse"))
    means += f", objective {chosen['objective'].iloc[0]:.5f}"
    if igsa:
        means += f", IGSA {igsa['igsa']:.4g} ({igsa['igsa_low']:.4g} to {igsa['igsa_high']:.4g})"
    if 0 in found.unattacked:
        means = f"not attacked, {found.unattacked[0]}; the picture shows grey in place of a reconstruction"
    return f"cell {cell.id}: {means} -> {out / 'picture.png'}"


def train_missing(cell: Cell, config: Config, folder: Path, session: Session) -> None:
    """Train the auxiliary models of a cell's attack that a folder lacks."""
    for auxiliary in cell.attack.auxiliaries():
        path = folder / f"{auxiliary_id(auxiliary, config)}.safetensors"
        if not path.exists():
            write_auxiliary(auxiliary, config, path, session)


def _picture(pictures: list[dict[str, Any]], rows: pd.DataFrame) -> Image.Image:
    """Ground truth left, reconstruction right, metrics under each pair."""
    font = ImageFont.load_default(14)
    height = _TILE + 28
    canvas = Image.new("RGB", (2 * _TILE + 12, height * len(pictures)), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (picture, row) in enumerate(zip(pictures, rows.to_dict("records"), strict=True)):
        top = index * height
        for column, key in enumerate(("truth_png", "reconstruction_png")):
            tile = Image.open(io.BytesIO(picture[key])).resize((_TILE, _TILE), Image.Resampling.NEAREST)
            canvas.paste(tile, (column * (_TILE + 12), top))
        text = f"LPIPS {row['lpips']:.3f}   PSNR {row['psnr']:.1f} dB"
        draw.text((_TILE + 6, top + _TILE + 4), text, fill="black", font=font, anchor="ma")
    return canvas
