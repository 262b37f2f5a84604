"""The command `gradleak pretrain`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, out_option, plan_option

_auxiliary_option = click.option("--auxiliary", required=True, help="Id of an auxiliary model in the plan.")


@click.group()
def pretrain() -> None:
    """Train what adversaries learn from public images: generators, enhancement networks."""


@pretrain.command()
@plan_option
@_auxiliary_option
@out_option
def run(plan_path: Path, auxiliary: str, out: Path) -> None:
    """Train one model on the public images of its data set; a killed training goes on. SIGTERM saves its state.

    \b
    Example:
      gradleak pretrain run --plan results/quick/plan.json --auxiliary 0123456789abcdef \\
        --out results/quick/auxiliary/0123456789abcdef.safetensors
    """
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.plan import Plan
    from gradleak.stages.pretrain import write_auxiliary
    from gradleak.stopping import stop_on_sigterm

    plan = Plan.read(plan_path)
    chosen = plan.auxiliary(auxiliary)
    device = prepare(plan.config)
    with progress_bar() as progress, stop_on_sigterm() as stop:
        write_auxiliary(chosen, plan.config, out, device, progress, stop)


@pretrain.command()
@plan_option
@_auxiliary_option
@click.option("--weights", type=PATH, required=True, help="Folder of trained auxiliary models.")
@click.option("--sheet", type=PATH, required=True, help="PNG with samples to write.")
@out_option
def show(plan_path: Path, auxiliary: str, weights: Path, sheet: Path, out: Path) -> None:
    """Write how good a trained model is (JSON) and what it makes (PNG).

    \b
    Example:
      gradleak pretrain show --plan results/quick/plan.json --auxiliary 0123456789abcdef \\
        --weights results/quick/auxiliary --out quality.json --sheet samples.png
    """
    from gradleak.cli.options import prepare_cpu
    from gradleak.plan import Plan
    from gradleak.stages.pretrain import write_quality

    plan = Plan.read(plan_path)
    chosen = plan.auxiliary(auxiliary)
    prepare_cpu(plan.config)
    write_quality(chosen, plan.config, weights, out, sheet)
