"""The commands `gradleak plan`, `gradleak status` and `gradleak summary`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, config_option


@click.command()
@config_option
@click.option("--study", help="Name of a study in workflow/studies, or path of a study file; default: the config's.")
@click.option("--out", type=PATH, help="Write plan.json here.")
@click.option("--calibrate", is_flag=True, help="Time this machine for half a minute and estimate for it.")
def plan(config_path: Path, study: str | None, out: Path | None, calibrate: bool) -> None:
    """Print cells, trials, jobs and estimated hours of a study; with --out, write its plan.

    \b
    Examples:
      gradleak plan
      gradleak plan --study paper
      gradleak plan --study paper --calibrate
    """
    from rich.console import Console

    from gradleak.archive.reuse import open_archives
    from gradleak.metrics.base import described
    from gradleak.pipeline.calibration import calibrate as measure
    from gradleak.pipeline.jobs import plan_summary
    from gradleak.rehearsal import rehearse
    from gradleak.study.config import load_config
    from gradleak.study.expand import load_study, study_path
    from gradleak.study.planning import make_plan

    config = load_config(config_path)
    if study is not None:
        config = config.model_copy(update={"study": study})
    made = make_plan(load_study(study_path(config.study)), config, described(), open_archives(config))
    rehearse(made)
    measured = measure(config) if calibrate else None
    console = Console()
    console.print(plan_summary(made, measured.throughput if measured else None))
    if measured is not None:
        console.print("\n".join(measured.lines()), highlight=False)
    if out is not None:
        made.write(out)


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

    from gradleak.pipeline.status import status_summary
    from gradleak.study.config import load_config
    from gradleak.study.expand import study_path
    from gradleak.study.plan import Plan

    name = study_path(study or load_config(config_path).study).stem
    plan = Plan.read(results / name / "plan.json")
    Console().print(status_summary(plan, results / name, Path(".snakemake")))


@click.command()
@config_option
@click.option("--study", help="Name of a study in workflow/studies, or path of a study file; default: the config's.")
@click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, help="Folder of all studies' results."
)
@click.option(
    "--figures", type=PATH, default=Path("paper_figures"), show_default=True, help="Folder of all studies' figures."
)
def summary(config_path: Path, study: str | None, results: Path, figures: Path) -> None:
    """Print where a study's figures and tables are, how its claims fare, its strongest finding, and what to open.

    The strongest finding is the claim that something protects or exposes whose effect is farthest from what it must
    exceed, in half widths of its interval, if it stands against all attacks. `make` ends with these lines.

    \b
    Examples:
      gradleak summary
      gradleak summary --study paper
    """
    from gradleak.documents import read_yaml
    from gradleak.report.summary import summary as lines
    from gradleak.study.expand import DEFAULT_STUDY, study_path
    from gradleak.study.outline import Outline

    # No more of the config is needed, and the rest of it waits for torch.
    name = study_path(study or str(read_yaml(config_path).get("study", DEFAULT_STUDY))).stem
    plan = Outline.read(results / name / "plan.json")
    for line in lines(plan, results / name, figures / name):
        click.echo(line)
