"""Commands that write tables, figures, claims and the report."""

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
    from gradleak.analysis.experiment import StudyData
    from gradleak.presentations.read import RESULT_COLUMNS, read_plan, read_table
    from gradleak.presentations.write import write_stage

    plan, experiments = read_plan(plan_path)
    data = StudyData(plan.study, read_table(results, RESULT_COLUMNS))
    for path in write_stage("tables", experiments, names, data, out):
        click.echo(path)


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
    from gradleak.analysis.experiment import StudyData
    from gradleak.presentations.read import IMAGE_COLUMNS, RESULT_COLUMNS, read_plan, read_table
    from gradleak.presentations.write import left_out, write_stage

    plan, experiments = read_plan(plan_path)
    pictures = None if images is None else read_table(images, IMAGE_COLUMNS)
    data = StudyData(plan.study, read_table(results, RESULT_COLUMNS), pictures, plan.taken_over)
    for path in write_stage("figures", experiments, names, data, out):
        click.echo(path)
    if not names and (missing := left_out("figures", experiments, data)):
        stems = dict.fromkeys(Path(file).stem for file in missing)
        why = "need images.parquet (--images)" if images is None else "show reused cells only, without pictures"
        click.echo(f"gradleak: left out, for they {why}: {', '.join(stems)}", err=True)


@click.command()
@click.option("--results", type=PATH, required=True, help="results.parquet of the study.")
@plan_option
@click.option("--csv", "folder", type=PATH, help="Folder of CSV files that claims of kind csv_column read.")
@click.option("--ledger", type=PATH, help="Claims to test; default: the paper's, which the package holds.")
@click.option("--out", type=PATH, required=True, help="Folder that receives the files.")
def claims(results: Path, plan_path: Path, folder: Path | None, ledger: Path | None, out: Path) -> None:
    """Judge all claims, show them, and write claims.* and published.* as CSV, LaTeX and Markdown.

    \b
    Example:
      gradleak claims --results results/quick/results.parquet \\
        --plan results/quick/plan.json --out paper_figures/quick
    """
    from rich.console import Console

    from gradleak.claims.base import ClaimData
    from gradleak.claims.ledger import read_ledger
    from gradleak.claims.report import terminal, write_claims
    from gradleak.claims.verdict import judge_all
    from gradleak.presentations.read import RESULT_COLUMNS, read_plan, read_table

    chosen = read_ledger(ledger)
    plan, experiments = read_plan(plan_path)
    table = read_table(results, [*RESULT_COLUMNS, "position", "client_samples"])
    data = ClaimData(plan.study, plan.title, experiments, table, folder)
    verdicts = judge_all(chosen, data)
    paths = write_claims(verdicts, data, out)
    # A log file gets whole lines: only a terminal has a width.
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(terminal(verdicts, data))
    for path in paths:
        click.echo(path)


@click.command()
@click.option("--output", "--out", "output", type=PATH, required=True, help="Folder that receives the files.")
def theory(output: Path) -> None:
    """Measure what the paper's lemma and theorems state, and draw it as PDF and PNG with the numbers as CSV.

    Needs no data, no plan and no GPU. Takes seconds. docs/theory.md says what comes out.

    \b
    Example:
      gradleak theory --output paper_figures/theory
    """
    from gradleak.engine.device import prepare_device
    from gradleak.files import write_files
    from gradleak.theory.outputs import render

    prepare_device("cpu", 1, "float32")
    for path in write_files(output, render()):
        click.echo(path)


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
