"""The command `gradleak collect`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, out_option, plan_option


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
    """Join the shards of all batches; fails if a cell of the plan has no rows.

    \b
    Example:
      gradleak collect --plan results/quick/plan.json --smoothness results/quick/smoothness \\
        --trainings results/quick/trainings --out results/quick/results.parquet results/quick/shards/*.parquet
    """
    from gradleak.stages.collect import Outline
    from gradleak.stages.collect import collect as join

    join(Outline.read(plan_path), list(shards), out, smoothness, trainings, archives)
