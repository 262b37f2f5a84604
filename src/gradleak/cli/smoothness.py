"""The command `gradleak smoothness`."""

from pathlib import Path

import click

from gradleak.cli.options import batch_option, checkpoints_option, out_option, plan_option


@click.command()
@plan_option
@batch_option
@checkpoints_option
@out_option
def smoothness(plan_path: Path, batch: str, checkpoints: Path, out: Path) -> None:
    """Measure IGSA at the victims' images for the cells of a batch that ask for it, one row each.

    \b
    Example:
      gradleak smoothness --plan results/quick/plan.json --batch 0123456789abcdef \\
        --checkpoints results/quick/checkpoints --out results/quick/smoothness/0123456789abcdef.parquet
    """
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.plan import Plan
    from gradleak.stages.smoothness import write_smoothness

    plan = Plan.read(plan_path)
    device = prepare(plan.config)
    with progress_bar() as progress:
        write_smoothness(plan, batch, checkpoints, out, device, progress)
