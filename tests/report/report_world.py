"""A small study's folders with invented measurements: everything else is written by the pipeline's own code."""

import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from core_cases import gradleak
from PIL import Image

from gradleak.files import write_files, write_provenance
from gradleak.parquet import write_parquet
from gradleak.report.page import Folders
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan
from gradleak.survey.outputs import render as render_survey
from gradleak.survey.schema import load_survey
from gradleak.theory.outputs import FILES as THEORY_FILES

ROOT = Path(__file__).parents[2]
FINGERPRINT = "8bbc3b54"
STUDY = """
title: Small <study> & more
note: Everything is smaller, see ``docs``.
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 2, layers: 1, norm: true}}
  client: {samples: 2, lr: 0.1}
  attack: {name: gia-o, priors: {tv: 0.001}, descent: {iterations: 20}}
trials: {count: 6}
experiments:
  table1:
    title: "Local updates <script>console.error('escaped?')</script>"
    paper: Table 1, Sec. 4.1.1
    note: The rate is ours.
    cells:
      - labels: {dataset: photos10, attack: O, paper: CIFAR10}
        axes: [{client.epochs: [1, 2, 4, 6]}]
    show:
      - {kind: table, rows: [dataset, attack], columns: client_steps, values: [lpips, psnr], bold_above: 0.1,
         published: table1, published_as: {dataset: paper}}
      - {kind: gallery, columns: client_steps, rows: [attack]}
  fig4b:
    title: GIA over batch size
    paper: Figure 4b
    cells:
      - axes:
          - - {labels: {variant: "$G_O$"}, set: {attack.priors: {}}}
            - {labels: {variant: "$G_O + p_{TV}$"}, set: {}}
          - {client.samples: [1, 2]}
        trials: {count: 3} # too few for a verdict
    show:
      - {kind: line, x: client_samples, hue: variant, leak_line: 0.1}
  fig6:
    title: Out-of-distribution data
    paper: Figure 6, Sec. 4.2.2
    cells:
      - {labels: {domain: ID}, set: &latent {knowledge_level: 2, attack: {name: gia-l, generator: &generator
          {name: dcgan, dataset: {name: photos10, resolution: 16}, channels: 8, steps: 3}}}}
      - {labels: {domain: OOD}, set: {<<: *latent, client.lr: 0.2}}
    show:
      - {kind: contrast, between: {label: domain, baseline: ID, against: OOD}, pair_by: [image]}
  latent:
    title: In a generator's latent space
    paper: not in the paper
    cells:
      - set: {knowledge_level: 2, attack: {name: gia-l, generator: *generator, latent: {descent: {iterations: 5}}}}
    show:
      - {kind: contrast, halves: detail, values: [lpips]}
"""


def make_folders(root: Path) -> Folders:
    """The folders of a study `small`, with all that a report can show."""
    (root / "small.yaml").write_text(STUDY)
    study, figures, theory, survey = (root / name for name in ("results", "figures", "theory", "survey"))
    plan = make_plan(load_study(root / "small.yaml"), Config(device="cpu"))
    plan.write(study / "plan.json")
    rows, pictures = invented(plan)
    write_parquet(pd.DataFrame(rows), study / "results.parquet")
    write_parquet(pd.DataFrame(pictures), study / "images.parquet")
    write_theory(theory)
    write_files(survey, render_survey(load_survey()))
    write_records(plan, study, figures)
    common = ("--results", f"{study}/results.parquet", "--plan", f"{study}/plan.json", "--out", str(figures))
    for command in (("tables",), ("figures", "--images", f"{study}/images.parquet"), ("claims", "--csv", str(theory))):
        ran = gradleak(*command, *common)
        assert ran.code == 0, ran.err
    return Folders(study, figures, theory, survey, ROOT / "workflow" / "report")


def invented(plan: Plan) -> tuple[list[dict], list[dict]]:
    """Rows and pictures: LPIPS rises with local steps, from 0.15 on, and falls with samples and at the rate 0.2."""
    generator = np.random.default_rng(0)
    rows, pictures = [], []
    for cell in plan.cells.values():
        factors = cell.factors()
        for position, image in enumerate(cell.victims):
            lpips = 0.2 + 0.05 * cell.client.steps - 0.05 * cell.client.samples + 0.01 * generator.random()
            lpips -= 0.02 * (cell.client.lr == 0.2)
            key = {"cell_id": cell.id, "image": image, "position": position, "label": image % 10, "lpips": lpips}
            measured = {"psnr": 20 - 10 * lpips, "detail": generator.random(), "iterations": 20}
            rows.append({**factors, **key, "restart": 0, "chosen": True, **measured})
            pictures.append(key | {"truth_png": png(generator), "reconstruction_png": png(generator)})
    return rows, pictures


def png(generator: np.random.Generator, size: int = 16) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_theory(folder: Path) -> None:
    """Files with the names of the theory's: pictures of noise, captions, and the columns that claims read."""
    generator = np.random.default_rng(1)
    lemma = [f"relu,{trial},true,gradients,0.001" for trial in range(8)]
    lemma += [f"relu,{trial},true,printed,1.5" for trial in range(8)]
    known = {
        "lemma41.csv": "\n".join(["network,trial,solution,route,error", *lemma]),
        "theorem43.csv": "ratio,difference\n" + "0.9,0.0\n" * 6,
    }
    contents = {}
    for name in THEORY_FILES:
        text = known.get(name, f"Caption of {name}." if name.endswith(".txt") else "U,error\n1,0.5\n2,-0.25\n")
        contents[name] = png(generator, 200) if name.endswith(".png") else text.encode()
    write_files(folder, contents)


def write_records(plan: Plan, study: Path, figures: Path) -> None:
    """Provenance, benchmarks, the record of the data and of the auxiliary model, as jobs leave them."""
    (study / "data").mkdir()
    record = {"name": "photos10", "classes": ["a"], "train": 2000, "test": 500, "fingerprint": FINGERPRINT}
    (study / "data/photos10.json").write_text(json.dumps(record))
    for folder in ("reconstructions", "shards"):
        result = study / folder / "one.bin"
        result.parent.mkdir()
        result.write_bytes(b"x")
        facts = {"device": "cpu (1 threads)", "data": {"photos10": FINGERPRINT}} if folder == "reconstructions" else {}
        write_provenance(result, time.time() - 5, **facts)
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    times = {
        "reconstruct_batch": ["90.0\t0:01:30\t512.5", "30.0\t0:00:30\t700.0"],
        "score_batch": ["0.01\t0:00:00\tNA"],
    }
    for rule, jobs in times.items():
        (study / "benchmarks" / rule).mkdir(parents=True)
        for i, job in enumerate(jobs):
            cpu = "NA" if job.endswith("NA") else "20.0"
            text = f"{head}{job}\t0\t0\t0\t0\t0\t0\t{cpu}\n"
            (study / "benchmarks" / rule / f"{i}.tsv").write_text(text)
    ((key, config),) = plan.auxiliaries.items()
    write_files(figures, {f"auxiliary_{config.title}_{key}.png": png(np.random.default_rng(2), 100)})
    (study / "auxiliary").mkdir()
    quality = {"quality": {"lpips": 0.25, "nearest_public": 0.5}}
    (study / "auxiliary" / f"{config.title}_{key}.json").write_text(json.dumps(quality))
