"""`doctor`: is this machine ready?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradleak.cli.options import chosen_config, config_option
from gradleak.doctor.base import Finding, Place, examine
from gradleak.errors import UserError

if TYPE_CHECKING:
    from gradleak.study.config import Config


@click.command()
@config_option
@click.pass_context
def doctor(context: click.Context, config_path: Path) -> None:
    """Look whether this machine and this folder are ready, in a few seconds.

    Versions, processor, GPU, memory, disk, the study's data, LPIPS weights, Snakemake's lock, SLURM, and a small attack
    whose numbers are known. Prints a table, then on stderr one line per fault that says what to do. Exit code 0
    without a fault, 1 with one. What is not needed (a GPU, SLURM) may be absent.

    \b
    Examples:
      gradleak doctor
      gradleak doctor --config mine.yaml
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    config, settings = _settings(context, config_path)
    found = {"settings": settings, **dict(examine(Place(Path(), config)))}
    table = Table(show_header=False, box=None)
    for title, finding in found.items():
        table.add_row("fault" if finding.fault else "ok", title, Text(finding.found))
    Console(width=None if Console().is_terminal else 120).print(table)
    faults = [finding.fault for finding in found.values() if finding.fault]
    for fault in faults:
        click.echo(f"gradleak: {fault}", err=True)
    if faults:
        sys.exit(1)


def _settings(context: click.Context, path: Path) -> "tuple[Config, Finding]":
    """The settings, or the default ones and the fault of those that were asked for."""
    from gradleak.study.config import Config

    try:
        return chosen_config(context, path), Finding(str(path) if path.exists() else "the default ones")
    except UserError as error:
        return Config(), Finding("fault, the others are for the default ones", str(error))
