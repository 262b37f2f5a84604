"""Stage `pretrain`: trains what an adversary learns from public images, and shows how good it is."""

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from gradleak.auxiliary.base import AUXILIARIES, Auxiliary, TrainContext
from gradleak.data.opening import open_view
from gradleak.data.pictures import contact_sheet
from gradleak.data.roles import PublicImages, TuningImages
from gradleak.engine.device import device_facts
from gradleak.files import atomic, write_provenance, write_text
from gradleak.metrics.lpips import Lpips
from gradleak.pipeline.code import code_digest
from gradleak.resume import own_folder
from gradleak.stages.auxiliaries import load_auxiliary
from gradleak.stages.session import Session
from gradleak.tensors import write_tensors

if TYPE_CHECKING:
    from gradleak.study.config import Config
    from gradleak.study.plan import Plan

_SHOWN = 60


def write_auxiliary(auxiliary: Auxiliary, config: "Config", out: Path, session: Session) -> None:
    """Train an auxiliary model on public images and write its weights as safetensors.

    State is kept beside the file while the job runs: killed at any moment, a rerun goes on and writes the same bytes,
    unless the code has changed. Raises Stopped, with its state saved, once `session.stop()` is true.
    """
    started = time.time()
    code = code_digest(["gradleak.stages.pretrain", AUXILIARIES.origin(auxiliary.name)])
    state = own_folder(out.with_name(out.name + ".state"), code)
    context = TrainContext(
        device=session.device,
        state=state / "training.safetensors",
        save_every_s=config.jobs.save_every_s,
        progress=session.progress(auxiliary.title, auxiliary.total_steps),
        stop=session.stop,
    )
    dataset = open_view(auxiliary.dataset, config.data, config.cache)
    model = auxiliary.train(PublicImages(dataset), context)
    write_tensors(model.state_dict(), out)
    write_provenance(
        out,
        started,
        auxiliary=auxiliary.model_dump(mode="json"),
        data={auxiliary.dataset.name: dataset.fingerprint()},
        settings=config.numerics,
        **device_facts(session.device),
    )
    shutil.rmtree(state, ignore_errors=True)


def show_auxiliaries(plan: "Plan", folder: Path, figures: Path) -> None:
    """Write of all auxiliary models of a plan how good they are beside their weights in `folder`, and their pictures.

    Files are `<title>_<id>.json` there and `auxiliary_<title>_<id>.png` in `figures`.
    """
    for name, auxiliary in plan.shown_auxiliaries.items():
        sheet = figures / f"auxiliary_{name}.png"
        write_quality(plan.auxiliaries[auxiliary], plan.config, folder, folder / f"{name}.json", sheet)


def write_quality(auxiliary: Auxiliary, config: "Config", folder: Path, out: Path, sheet: Path) -> None:
    """Write how good a trained model is as JSON, and pictures of what it has learned as PNG."""
    dataset = open_view(auxiliary.dataset, config.data, config.cache)
    public, tuning = PublicImages(dataset), TuningImages(dataset)
    model = load_auxiliary(auxiliary, config, folder)
    numbers = auxiliary.quality(model, public, tuning, Lpips(config.cache))
    rounded = {name: round(value, 6) for name, value in numbers.items()}
    content = {
        "auxiliary": auxiliary.model_dump(mode="json"),
        "public_images": public.size,
        "quality": rounded,
    }
    write_text(out, json.dumps(content, indent=1) + "\n")
    shown = auxiliary.samples(model, public, _SHOWN)
    picture = contact_sheet(shown.images, shown.captions, columns=12)
    facts = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in rounded.items())
    steps = auxiliary.total_steps
    origin = f"{public.size} public images, {steps} steps" if steps else "weights that others published"
    title = f"{auxiliary.title}: {origin}"
    with atomic(sheet) as temporary:
        _titled(picture, [title, facts]).save(temporary, format="PNG")


def _titled(picture: Image.Image, lines: list[str]) -> Image.Image:
    font = ImageFont.load_default(16)
    height = 24 * len(lines) + 6
    canvas = Image.new("RGB", (picture.width, picture.height + height), "white")
    canvas.paste(picture, (0, height))
    draw = ImageDraw.Draw(canvas)
    for index, line in enumerate(lines):
        draw.text((6, 6 + 24 * index), line, fill="black", font=font)
    return canvas
