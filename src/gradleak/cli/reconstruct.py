"""The command `gradleak reconstruct`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, auxiliaries_option, batch_option, checkpoints_option, out_option, plan_option


@click.command()
@plan_option
@batch_option
@checkpoints_option
@auxiliaries_option
@click.option("--updates", type=PATH, required=True, help="What `gradleak update` wrote for the batch.")
@out_option
def reconstruct(plan_path: Path, batch: str, checkpoints: Path, auxiliaries: Path, updates: Path, out: Path) -> None:
    """Run the attacks of a batch on the shared updates.

    Killed at any moment, the same command goes on from its last saved state and writes the same bytes. SIGTERM makes it
    save its state and exit with code 143.

    \b
    Example:
      gradleak reconstruct --plan results/quick/plan.json --batch 0123456789abcdef \\
        --checkpoints results/quick/checkpoints --updates results/quick/updates/0123456789abcdef.safetensors \\
        --out results/quick/reconstructions/0123456789abcdef.safetensors
    """
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.plan import Plan
    from gradleak.stages.reconstruct import write_reconstructions
    from gradleak.stopping import stop_on_sigterm

    plan = Plan.read(plan_path)
    device = prepare(plan.config)
    with progress_bar() as progress, stop_on_sigterm() as stop:
        write_reconstructions(plan, batch, updates, checkpoints, auxiliaries, out, device, progress, stop)
