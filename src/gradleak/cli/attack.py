"""The command `gradleak attack`: one cell alone."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, chosen_config, config_option, example_option


@click.command()
@click.argument("cell_path", metavar="CELL.yaml", type=PATH, required=False)
@click.option("--out", type=PATH, help="Folder that receives the Parquet files and the picture.")
@config_option
@example_option("gradleak.resources", "cell.yaml")
@click.pass_context
def attack(context: click.Context, cell_path: Path | None, out: Path | None, config_path: Path) -> None:
    """Run one cell from the client's update to metrics and a picture.

    \b
    Examples:
      gradleak attack --example > cell.yaml
      gradleak attack cell.yaml --out attack/
    """
    if cell_path is None or out is None:
        raise click.UsageError("give CELL.yaml and --out DIR, or --example")
    from gradleak.cell import Cell
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.config import read_yaml
    from gradleak.stages.single import run_cell

    config = chosen_config(context, config_path)
    cell = Cell.parse(read_yaml(cell_path), str(cell_path))
    device = prepare(config)
    with progress_bar() as progress:
        summary = run_cell(cell, config, out, device, progress)
    click.echo(summary)
