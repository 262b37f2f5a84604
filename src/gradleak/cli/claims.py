"""The command `gradleak claims`: which of the paper's findings a study's results support."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, plan_option


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
    from gradleak.claims.report import terminal
    from gradleak.claims.verdict import judge_all
    from gradleak.claims.write import write_claims
    from gradleak.tables.plan import RESULT_COLUMNS, read_plan, read_table, read_title

    chosen = read_ledger(ledger)
    study, experiments = read_plan(plan_path)
    table = read_table(results, [*RESULT_COLUMNS, "position", "client_samples"])
    data = ClaimData(study, read_title(plan_path), experiments, table, folder)
    verdicts = judge_all(chosen, data)
    paths = write_claims(verdicts, data, out)
    # A log file gets whole lines: only a terminal has a width.
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(terminal(verdicts, data))
    for path in paths:
        click.echo(path)
