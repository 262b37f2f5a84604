"""The command `gradleak status`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, config_option


@click.command()
@config_option
@click.option("--study", help="Name of a study in workflow/studies, or path of a study file; default: the config's.")
@click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, help="Folder of all studies' results."
)
def status(config_path: Path, study: str | None, results: Path) -> None:
    """Print what of a study is done, started, failed and waiting, and how long it will take.

    Reads the plan and the files of the study and Snakemake's records; may be called at any time, while it runs too.

    \b
    Examples:
      gradleak status
      gradleak status --study paper
    """
    from rich.console import Console

    from gradleak.config import load_config
    from gradleak.plan import Plan
    from gradleak.status import status_summary
    from gradleak.study import study_path

    name = study_path(study or load_config(config_path).study).stem
    plan = Plan.read(results / name / "plan.json")
    Console().print(status_summary(plan, results / name, Path(".snakemake")))
