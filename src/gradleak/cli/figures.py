"""The command `gradleak figures`: from results.parquet and images.parquet to the figures of a study."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, plan_option


@click.command()
@click.option("--results", type=PATH, required=True, help="results.parquet of the study.")
@click.option("--images", type=PATH, help="images.parquet of the study; without it, galleries are left out.")
@plan_option
@click.option("--out", type=PATH, required=True, help="Folder that receives the files.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def figures(results: Path, images: Path | None, plan_path: Path, out: Path, names: tuple[str, ...]) -> None:
    """Write the figures and galleries of all experiments, or of those named, as PDF and PNG.

    \b
    Example:
      gradleak figures --results results/quick/results.parquet \\
        --images results/quick/images.parquet --plan results/quick/plan.json \\
        --out paper_figures/quick fig4a
    """
    from gradleak.tables.plan import IMAGE_COLUMNS, RESULT_COLUMNS, StudyData, read_plan, read_table, read_taken_over
    from gradleak.tables.present import left_out, write_stage

    study, experiments = read_plan(plan_path)
    pictures = None if images is None else read_table(images, IMAGE_COLUMNS)
    data = StudyData(study, read_table(results, RESULT_COLUMNS), pictures, read_taken_over(plan_path))
    for path in write_stage("figures", experiments, names, data, out):
        click.echo(path)
    if not names and (missing := left_out("figures", experiments, data)):
        stems = dict.fromkeys(Path(file).stem for file in missing)
        why = "need images.parquet (--images)" if images is None else "show reused cells only, without pictures"
        click.echo(f"gradleak: left out, for they {why}: {', '.join(stems)}", err=True)
