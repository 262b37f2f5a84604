"""Commands that are stages of a study: from auxiliary models to joined results."""

from pathlib import Path

import click

from gradleak.cli.options import (
    OUT_FILE,
    OUT_FOLDER,
    PATH,
    auxiliaries_option,
    batch_option,
    checkpoints_option,
    out_option,
    plan_option,
    prepare_cpu,
    session,
)

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
    from gradleak.stages.pretrain import write_auxiliary
    from gradleak.stopping import stop_on_sigterm
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    chosen = plan.auxiliary(auxiliary)
    with stop_on_sigterm() as stop, session(plan.config, stop) as own:
        write_auxiliary(chosen, plan.config, out, own)


@pretrain.command()
@plan_option
@auxiliaries_option
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder to write the PNG files to.")
def show(plan_path: Path, auxiliaries: Path, out: Path) -> None:
    """Write how good a study's trained models are (JSON, beside their weights) and what they make (PNG).

    \b
    Example:
      gradleak pretrain show --plan results/quick/plan.json --auxiliaries results/quick/auxiliary \\
        --out paper_figures/quick
    """
    from gradleak.stages.pretrain import show_auxiliaries
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    prepare_cpu(plan.config)
    show_auxiliaries(plan, auxiliaries, out)


@click.command()
@plan_option
@click.option("--checkpoint", "name", required=True, help="Id of a checkpoint in the plan.")
@out_option
def checkpoint(plan_path: Path, name: str, out: Path) -> None:
    """Write the untrained global model, round 0, as a file, as `federate` writes those of later rounds.

    No stage reads it: each makes untrained models itself.

    \b
    Example:
      gradleak checkpoint --plan results/quick/plan.json --checkpoint 0123456789abcdef \\
        --out results/quick/checkpoints/0123456789abcdef.safetensors
    """
    from gradleak.errors import UserError
    from gradleak.stages.checkpoint import write_checkpoint
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    if name not in plan.checkpoints:
        raise UserError(f"--checkpoint: '{name}' is not in {plan_path}")
    prepare_cpu(plan.config)
    write_checkpoint(plan.cells[plan.checkpoints[name]], plan.config, out)


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
    from gradleak.stages.federate import write_training
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    rounds = {number: checkpoints / f"{name}.safetensors" for number, name in plan.rounds(training).items()}
    with session(plan.config) as own:
        write_training(plan.training_cell(training), rounds, plan.config, out, own)


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
    from gradleak.stages.update import write_updates
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    prepare_cpu(plan.config)
    write_updates(plan, batch, checkpoints, out)


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
    from gradleak.stages.smoothness import write_smoothness
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    with session(plan.config) as own:
        write_smoothness(plan, batch, checkpoints, out, own)


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
    from gradleak.stages.reconstruct import write_reconstructions
    from gradleak.stopping import stop_on_sigterm
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    with stop_on_sigterm() as stop, session(plan.config, stop) as own:
        for line in write_reconstructions(plan, batch, updates, checkpoints, auxiliaries, out, own):
            click.echo(f"gradleak: {line}", err=True)


@click.command()
@plan_option
@batch_option
@click.option("--reconstructions", type=PATH, required=True, help="What `gradleak reconstruct` wrote.")
@out_option
@click.option("--images", type=OUT_FILE, required=True, help="Parquet file for victims and reconstructions as PNG.")
def score(plan_path: Path, batch: str, reconstructions: Path, out: Path, images: Path) -> None:
    """Match the reconstructions of a batch to its victims and write one row per reconstructed image.

    \b
    Example:
      gradleak score --plan results/quick/plan.json --batch 0123456789abcdef \\
        --reconstructions results/quick/reconstructions/0123456789abcdef.safetensors \\
        --out results/quick/shards/0123456789abcdef.parquet --images results/quick/images/0123456789abcdef.parquet
    """
    from gradleak.stages.score import write_scores
    from gradleak.study.plan import Plan

    plan = Plan.read(plan_path)
    prepare_cpu(plan.config)
    write_scores(plan, batch, reconstructions, out, images)


@click.command()
@plan_option
@out_option
@click.option("--smoothness", type=PATH, help="Folder with what `gradleak smoothness` wrote; joined to the rows.")
@click.option("--trainings", type=PATH, help="Folder with what `gradleak federate` wrote; accuracies are joined.")
@click.option(
    "--archive",
    "archives",
    type=PATH,
    multiple=True,
    help="Archive that the plan takes cells over from: joins their rows. Repeatable; not for pictures, which it lacks.",
)
@click.argument("shards", nargs=-1, type=PATH)
def collect(
    plan_path: Path,
    out: Path,
    smoothness: Path | None,
    trainings: Path | None,
    archives: tuple[Path, ...],
    shards: tuple[Path, ...],
) -> None:
    """Join the shards of all batches. Fails if a cell of the plan has no rows.

    \b
    Example:
      gradleak collect --plan results/quick/plan.json --smoothness results/quick/smoothness \\
        --trainings results/quick/trainings --out results/quick/results.parquet results/quick/shards/*.parquet
    """
    from gradleak.stages.collect import collect as join
    from gradleak.study.outline import Outline

    join(Outline.read(plan_path), list(shards), out, smoothness, trainings, archives)
