"""The command `gradleak federate`."""

from pathlib import Path

import click

from gradleak.cli.options import checkpoints_option, out_option, plan_option


@click.command()
@plan_option
@click.option("--training", required=True, help="Id of a federated training in the plan.")
@checkpoints_option
@out_option
def federate(plan_path: Path, training: str, checkpoints: Path, out: Path) -> None:
    """Train federatedly and write the checkpoints of the rounds that the plan needs, and accuracies per round.

    A training that is killed goes on from its last round.

    \b
    Example:
      gradleak federate --plan results/quick/plan.json --training 0123456789abcdef \\
        --checkpoints results/quick/checkpoints --out results/quick/trainings/0123456789abcdef.parquet
    """
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.plan import Plan
    from gradleak.stages.federate import write_training

    plan = Plan.read(plan_path)
    rounds = {number: checkpoints / f"{name}.safetensors" for number, name in plan.rounds(training).items()}
    device = prepare(plan.config)
    with progress_bar() as progress:
        write_training(plan.training_cell(training), rounds, plan.config, out, device, progress)
