"""The command `gradleak score`."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, batch_option, out_option, plan_option


@click.command()
@plan_option
@batch_option
@click.option("--reconstructions", type=PATH, required=True, help="What `gradleak reconstruct` wrote.")
@out_option
@click.option("--images", type=PATH, required=True, help="Parquet file for victims and reconstructions as PNG.")
def score(plan_path: Path, batch: str, reconstructions: Path, out: Path, images: Path) -> None:
    """Match the reconstructions of a batch to its victims and write one row per reconstructed image.

    \b
    Example:
      gradleak score --plan results/quick/plan.json --batch 0123456789abcdef \\
        --reconstructions results/quick/reconstructions/0123456789abcdef.safetensors \\
        --out results/quick/shards/0123456789abcdef.parquet --images results/quick/images/0123456789abcdef.parquet
    """
    from gradleak.cli.options import prepare_cpu
    from gradleak.plan import Plan
    from gradleak.stages.score import write_scores

    plan = Plan.read(plan_path)
    prepare_cpu(plan.config)
    write_scores(plan, batch, reconstructions, out, images)
