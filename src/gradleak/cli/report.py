"""The command `gradleak report`: a study's results as one HTML file."""

from pathlib import Path

import click

from gradleak.cli.options import PATH


@click.command()
@click.option("--study-folder", type=PATH, required=True, help="Folder of plan.json and results.parquet.")
@click.option("--figures", type=PATH, required=True, help="Folder of the study's tables, figures and claims.")
@click.option("--theory", type=PATH, help="Folder that `gradleak theory` wrote; default: leave it out.")
@click.option("--survey", type=PATH, help="Folder that `gradleak survey` wrote; default: leave it out.")
@click.option("--captions", type=PATH, help="Folder of captions, workflow/report; default: none.")
@click.option("--out", type=PATH, required=True, help="HTML file to write.")
def report(
    study_folder: Path, figures: Path, theory: Path | None, survey: Path | None, captions: Path | None, out: Path
) -> None:
    """Write one self-contained HTML file: claims, figures, tables, provenance, the graph of rules and run times.

    Reads files only; run times and provenance are those that lie in the study's folder, if any do.

    \b
    Example:
      gradleak report --study-folder results/quick --figures paper_figures/quick \\
        --theory paper_figures/theory --survey paper_figures/survey --out report.html
    """
    from gradleak.files import write_text
    from gradleak.report.page import Folders, render

    write_text(out, render(Folders(study_folder, figures, theory, survey, captions)))
    click.echo(out)
