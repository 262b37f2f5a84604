"""The command `gradleak tables`: from results.parquet to the tables of a study."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, plan_option


@click.command()
@click.option("--results", type=PATH, required=True, help="results.parquet of the study.")
@plan_option
@click.option("--out", type=PATH, required=True, help="Folder that receives the files.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def tables(results: Path, plan_path: Path, out: Path, names: tuple[str, ...]) -> None:
    """Write the tables of all experiments, or of those named, as CSV and LaTeX.

    \b
    Example:
      gradleak tables --results results/quick/results.parquet \\
        --plan results/quick/plan.json --out paper_figures/quick table1
    """
    from gradleak.tables.plan import RESULT_COLUMNS, StudyData, read_plan, read_table
    from gradleak.tables.present import write_stage

    study, experiments = read_plan(plan_path)
    data = StudyData(study, read_table(results, RESULT_COLUMNS))
    for path in write_stage("tables", experiments, names, data, out):
        click.echo(path)
