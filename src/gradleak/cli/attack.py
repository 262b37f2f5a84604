"""The command `gradleak attack`: one cell alone."""

from importlib import resources
from pathlib import Path

import click
from click.core import ParameterSource

from gradleak.cli.options import PATH, config_option


@click.command()
@click.argument("cell_path", metavar="CELL.yaml", type=PATH, required=False)
@click.option("--out", type=PATH, help="Folder that receives the Parquet files and the picture.")
@config_option
@click.option("--example", is_flag=True, help="Print a commented CELL.yaml and stop.")
@click.pass_context
def attack(context: click.Context, cell_path: Path | None, out: Path | None, config_path: Path, example: bool) -> None:
    """Run one cell from the client's update to metrics and a picture.

    \b
    Examples:
      gradleak attack --example > cell.yaml
      gradleak attack cell.yaml --out attack/
    """
    if example:
        text = resources.files("gradleak.resources").joinpath("cell.yaml").read_text(encoding="utf-8")
        click.echo(text, nl=False)
        return
    if cell_path is None or out is None:
        raise click.UsageError("give CELL.yaml and --out DIR, or --example")
    from gradleak.cell import Cell
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.config import Config, load_config, read_yaml
    from gradleak.stages.single import run_cell

    asked = context.get_parameter_source("config_path") is not ParameterSource.DEFAULT
    config = load_config(config_path) if asked or config_path.exists() else Config()
    cell = Cell.parse(read_yaml(cell_path), str(cell_path))
    device = prepare(config)
    with progress_bar() as progress:
        summary = run_cell(cell, config, out, device, progress)
    click.echo(summary)
