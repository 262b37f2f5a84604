"""A tiny finished run, as Snakemake would leave it, for tests of archives."""

from pathlib import Path

from gradleak.archive.verify import recompute
from gradleak.planned import plan_run
from gradleak.stages.collect import collect
from gradleak.stages.data import record_dataset
from gradleak.stages.session import Session
from gradleak.study.config import Config
from gradleak.study.outline import Outline
from gradleak.study.plan import Plan

STUDY = """
title: Tiny archive
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 1, layers: 1, norm: true}}
  client: {lr: 0.1}
  attack: {name: gia-o, priors: {tv: 0.01}, descent: {iterations: 30, schedule: cosine}}
trials: {count: 3}
experiments:
  table1:
    title: GIA against local updates
    paper: Table 1
    cells:
      - {labels: {attack: O}, axes: [{client.epochs: [1, 2]}]}
    show:
      - {kind: table, rows: [attack], columns: client_steps, values: [lpips]}
      - {kind: gallery, columns: client_steps, rows: [attack]}
  fig4b:
    title: GIA over batch size
    paper: Figure 4b
    cells:
      - {labels: {variant: G}, axes: [{client.samples: [1, 2]}]}
    show:
      - {kind: line, x: client_samples, hue: variant, y: lpips}
"""


#: An experiment to append to STUDY: its cells are among STUDY's, so that an archive of that has all of them.
ARCHIVED = """
  fig4a:
    title: What the archive has
    paper: Figure 4a
    cells:
      - {labels: {attack: O}, trials: {count: 2}}
    show:
      - {kind: table, rows: [attack], columns: client_samples, values: [lpips]}
      - {kind: gallery, columns: client_samples}
"""


def planned(folder: Path, cache: Path, study: str = STUDY, **settings: object) -> Plan:
    """The plan of a study whose file is put into a folder."""
    folder.mkdir()
    (folder / "tiny.yaml").write_text(study)
    config = Config.parse(
        {"device": "cpu", "cache": str(cache), "study": str(folder / "tiny.yaml"), **settings}, "here"
    )
    return plan_run(config).plan


def finished_run(folder: Path, cache: Path, study: str = STUDY, **settings: object) -> Plan:
    """Run a tiny study, whose cells are one batch or all reused, into a folder; returns its plan."""
    plan = planned(folder, cache, study, **settings)
    outline, archives = Outline.parse(plan.text()), [Path(entry.archive) for entry in plan.reused]
    if plan.batches:
        recompute(plan, folder, Session())
        record_dataset(plan, "photos10", folder / "data" / "photos10.json")
        (batch,) = plan.batches
        collect(outline, [folder / "images" / f"{batch}.parquet"], folder / "images.parquet")
    shards = [folder / "shards" / f"{batch}.parquet" for batch in plan.batches]
    collect(outline, shards, folder / "results.parquet", archives=archives)
    plan.write(folder / "plan.json")
    return plan
