"""The command `gradleak survey`: Table 7 and Figures 1, 2 and 8 from the survey file."""

from pathlib import Path

import click

from gradleak.cli.options import PATH


@click.command()
@click.option("--output", "--out", "output", type=PATH, required=True, help="Folder that receives the files.")
@click.option("--survey", "survey_path", type=PATH, help="Survey file; default: the package's, of the paper's Table 7.")
def survey(output: Path, survey_path: Path | None) -> None:
    """Write the surveyed attacks as CSV and LaTeX, the timeline, and the schemes that belong to the survey.

    \b
    Example:
      gradleak survey --output paper_figures/survey
    """
    from gradleak.files import write_files
    from gradleak.survey.outputs import render
    from gradleak.survey.schema import load_survey

    for path in write_files(output, render(load_survey(survey_path))):
        click.echo(path)
