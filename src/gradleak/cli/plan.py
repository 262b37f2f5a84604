"""The commands `gradleak plan`, `gradleak status` and `gradleak summary`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, config_option


@click.command()
@config_option
@click.option("--study", help="Name of a study in workflow/studies, or path of a study file; default: the config's.")
@click.option("--out", type=PATH, help="Write plan.json here.")
@click.option("--calibrate", is_flag=True, help="Time this machine for half a minute and estimate for it.")
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    help="Choose the cells that decide most in this time of one device, and say what is left out.",
)
@click.option("--reuse", type=PATH, multiple=True, help="Archive whose cells are taken over; repeatable.")
@click.option("--list", "listed", is_flag=True, help="Print only the chosen cells, one a line: what, seconds, and why.")
def plan(
    config_path: Path,
    study: str | None,
    out: Path | None,
    calibrate: bool,
    minutes: float | None,
    reuse: tuple[Path, ...],
    listed: bool,
) -> None:
    """Print cells, trials, jobs and estimated hours of a study; with --out, write its plan.

    \b
    Examples:
      gradleak plan
      gradleak plan --study paper
      gradleak plan --study paper --calibrate
      gradleak plan --study reference --reuse results/reference --minutes 120
    """
    from rich.console import Console

    from gradleak.pipeline.calibration import calibrate as measure
    from gradleak.pipeline.chosen import choice_summary, choice_table
    from gradleak.pipeline.jobs import plan_summary
    from gradleak.planned import plan_run
    from gradleak.study.config import load_config

    config = load_config(config_path)
    given = {"study": study, "minutes": minutes, "reuse": reuse or None}
    config = config.model_copy(update={name: value for name, value in given.items() if value is not None})
    made, choice, lines = plan_run(config)
    if out is not None:
        made.write(out)
    console = Console()
    if listed:
        if choice.picks:
            (console if console.is_terminal else Console(width=200)).print(choice_table(choice))
        return
    measured = measure(config) if calibrate else None
    if choice.minutes is not None:
        console.print(choice_summary(choice, lines))
    console.print(plan_summary(made, measured.throughput if measured else None))
    if measured is not None:
        console.print("\n".join(measured.lines()), highlight=False)


@click.command()
@config_option
@click.option("--study", help="Name of a study in workflow/studies, or path of a study file; default: the config's.")
@click.option("--run", help="Name of the run, if it has another than the study; default: the config's.")
@click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, help="Folder of all studies' results."
)
def status(config_path: Path, study: str | None, run: str | None, results: Path) -> None:
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
    from gradleak.study.expand import run_name
    from gradleak.study.plan import Plan

    config = load_config(config_path)
    name = run_name(study or config.study, run or config.run)
    plan = Plan.read(results / name / "plan.json")
    Console().print(status_summary(plan, results / name, Path(".snakemake")))


@click.command()
@config_option
@click.option("--study", help="Name of a study in workflow/studies, or path of a study file; default: the config's.")
@click.option("--run", help="Name of the run, if it has another than the study; default: the config's.")
@click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, help="Folder of all studies' results."
)
@click.option(
    "--figures", type=PATH, default=Path("paper_figures"), show_default=True, help="Folder of all studies' figures."
)
def summary(config_path: Path, study: str | None, run: str | None, results: Path, figures: Path) -> None:
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
    from gradleak.study.expand import DEFAULT_STUDY, run_name
    from gradleak.study.outline import Outline

    # No more of the config is needed, and the rest of it waits for torch.
    config = read_yaml(config_path)
    name = run_name(study or str(config.get("study", DEFAULT_STUDY)), run or config.get("run"))
    plan = Outline.read(results / name / "plan.json")
    for line in lines(plan, results / name, figures / name):
        click.echo(line)
