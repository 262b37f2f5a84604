"""The command `gradleak train`."""

from pathlib import Path

import click

from gradleak.cli.options import out_option, plan_option


@click.command()
@plan_option
@click.option("--checkpoint", required=True, help="Id of a checkpoint in the plan.")
@out_option
def train(plan_path: Path, checkpoint: str, out: Path) -> None:
    """Write the untrained global model, round 0, as a checkpoint; `federate` writes those of later rounds.

    \b
    Example:
      gradleak train --plan results/quick/plan.json --checkpoint 0123456789abcdef \\
        --out results/quick/checkpoints/0123456789abcdef.safetensors
    """
    from gradleak.cli.options import prepare_cpu
    from gradleak.errors import UserError
    from gradleak.plan import Plan
    from gradleak.stages.checkpoint import write_checkpoint

    plan = Plan.read(plan_path)
    if checkpoint not in plan.checkpoints:
        raise UserError(f"--checkpoint: '{checkpoint}' is not in {plan_path}")
    prepare_cpu(plan.config)
    write_checkpoint(plan.cells[plan.checkpoints[checkpoint]], plan.config, out)
