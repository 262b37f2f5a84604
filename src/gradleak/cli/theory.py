"""The command `gradleak theory`: Lemma 4.1, Theorems 4.2 and 4.3 and Figure 3 as numerical experiments."""

from pathlib import Path

import click

from gradleak.cli.options import PATH


@click.command()
@click.option("--output", "--out", "output", type=PATH, required=True, help="Folder that receives the files.")
def theory(output: Path) -> None:
    """Measure what the paper's lemma and theorems state, and draw it as PDF and PNG with the numbers as CSV.

    Needs no data, no plan and no GPU; takes seconds. docs/theory.md says what comes out.

    \b
    Example:
      gradleak theory --output paper_figures/theory
    """
    from gradleak.engine.device import prepare_device
    from gradleak.files import write_files
    from gradleak.theory.outputs import render

    prepare_device("cpu", 1, tf32=False)
    for path in write_files(output, render()):
        click.echo(path)
