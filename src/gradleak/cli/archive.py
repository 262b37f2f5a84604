"""The command `gradleak archive`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder that receives the files.")
def archive(run: Path, out: Path) -> None:
    """Keep of a finished run, the folder RUN, what can be committed: plan, results, provenance, checksums; no images.

    Of archives that the run reuses, what belongs to the reused cells becomes part of the new one.

    \b
    Example:
      gradleak archive results/mine --out results/reference
    """
    from gradleak.archive.write import write_archive

    for path in write_archive(run, out):
        click.echo(f"{path} {path.stat().st_size} bytes")
