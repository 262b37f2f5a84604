"""The `gradleak data` commands: list data sets, look at one, download one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradleak.cli.options import OUT_FILE, PATH, plan_option
from gradleak.files import atomic

# What needs torch is imported inside the commands: `gradleak --help` should not wait for it.
if TYPE_CHECKING:
    from gradleak.data.base import Split
    from gradleak.study.config import Config

_config = click.option("--config", type=PATH, help="Config that says where data lies.")


@click.group()
def data() -> None:
    """List, look at and download data sets."""


@data.command("list")
def list_() -> None:
    """List the registered data sets: classes, native resolution, default source.

    Example: gradleak data list
    """
    from rich.console import Console
    from rich.table import Table

    from gradleak.data.base import DATASETS

    table = Table("name", "classes", "resolution", "default source", box=None)
    for name in DATASETS.names():
        info = DATASETS[name]
        table.add_row(name, str(info.num_classes), str(info.resolution), info.source)
    Console().print(table)


@data.command()
@click.argument("name")
@click.option("--out", type=OUT_FILE, required=True, help="PNG file to write.")
@click.option("--resolution", type=click.IntRange(1, 512), help="Pixels; default: the native one.")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option("--count", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many images.")
@_config
def show(name: str, out: Path, resolution: int | None, split: "Split", count: int, config: Path | None) -> None:
    """Write a contact sheet of the first images of data set NAME, each with its class.

    Example: gradleak data show photos10 --out sheet.png --count 20
    """
    from gradleak.data.base import DATASETS
    from gradleak.data.opening import open_dataset
    from gradleak.data.pictures import contact_sheet

    settings = _settings(config)
    if resolution is None:
        resolution = DATASETS[name].resolution if name in DATASETS else 64
    dataset = open_dataset(name, resolution, settings.data, settings.cache)
    indices = range(min(count, dataset.size(split)))
    captions = [dataset.class_names[label] for label in dataset.labels(split, indices).tolist()]
    sheet = contact_sheet(dataset.images(split, indices), captions)
    with atomic(out) as temporary:
        sheet.save(temporary, format="PNG")
    _say(name, dataset.notes)
    click.echo(f"wrote {out}: {len(indices)} of {dataset.size(split)} {split} images of {name}", err=True)


@data.command()
@click.argument("name")
@click.option("--cache", type=PATH, help="Cache folder; default: the config's.")
@_config
def fetch(name: str, cache: Path | None, config: Path | None) -> None:
    """Download data set NAME, or with NAME `lpips` the backbone of the LPIPS metric, into the cache folder.

    What is there already is checked and kept. Example: gradleak data fetch cifar10
    """
    settings = _settings(config)
    cache = cache or settings.cache
    if name == "lpips":
        from gradleak.metrics.backbone import fetch_backbone

        click.echo(f"ready: {fetch_backbone(cache)}", err=True)
        return
    from gradleak.data.base import DATASETS
    from gradleak.data.opening import open_dataset

    resolution = DATASETS[name].resolution if name in DATASETS else 64
    open_dataset(name, resolution, settings.data, cache).fetch()
    click.echo(f"ready: {name}", err=True)


@data.command()
@click.argument("name")
@plan_option
@click.option("--out", type=OUT_FILE, required=True, help="JSON file to write.")
def record(name: str, plan_path: Path, out: Path) -> None:
    """Fetch data set NAME of a study and record its sizes, classes and fingerprint.

    Example: gradleak data record photos10 --plan results/quick/plan.json --out results/quick/data/photos10.json
    """
    from gradleak.stages.data import record_dataset
    from gradleak.study.plan import Plan

    _say(name, record_dataset(Plan.read(plan_path), name, out))


def _say(name: str, notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"gradleak: {name}: {note}", err=True)


def _settings(path: Path | None) -> "Config":
    from gradleak.study.config import Config, load_config

    return Config() if path is None else load_config(path)
