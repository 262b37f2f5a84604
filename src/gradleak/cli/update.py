"""The command `gradleak update`."""

from pathlib import Path

import click

from gradleak.cli.options import batch_option, checkpoints_option, out_option, plan_option


@click.command()
@plan_option
@batch_option
@checkpoints_option
@out_option
def update(plan_path: Path, batch: str, checkpoints: Path, out: Path) -> None:
    """Train the victim clients of a batch locally and write the updates that they share.

    \b
    Example:
      gradleak update --plan results/quick/plan.json --batch 0123456789abcdef \\
        --checkpoints results/quick/checkpoints --out results/quick/updates/0123456789abcdef.safetensors
    """
    from gradleak.cli.options import prepare_cpu
    from gradleak.plan import Plan
    from gradleak.stages.update import write_updates

    plan = Plan.read(plan_path)
    prepare_cpu(plan.config)
    write_updates(plan, batch, checkpoints, out)
