"""The command `gradleak plan`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, config_option


@click.command()
@config_option
@click.option("--study", help="Name of a study in workflow/studies, or path of a study file; default: the config's.")
@click.option("--out", type=PATH, help="Write plan.json here.")
@click.option("--calibrate", is_flag=True, help="Time this machine for some seconds and estimate for it.")
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
    from gradleak.calibration import measured_throughput
    from gradleak.config import load_config
    from gradleak.jobs import plan_summary
    from gradleak.metrics.base import described
    from gradleak.plan import make_plan
    from gradleak.study import load_study, study_path

    config = load_config(config_path)
    if study is not None:
        config = config.model_copy(update={"study": study})
    made = make_plan(load_study(study_path(config.study)), config, described(), open_archives(config))
    rate = measured_throughput(config) if calibrate else None
    Console().print(plan_summary(made, rate))
    if out is not None:
        made.write(out)
