"""Commands that need no study: `attack`, `audit`, `tune` and `metrics`."""

import json
from pathlib import Path

import click

from gradleak.cli.options import OUT_FILE, OUT_FOLDER, PATH, chosen_config, config_option, example_option, session
from gradleak.errors import UserError


@click.command()
@click.argument("cell_path", metavar="CELL.yaml", type=PATH, required=False)
@click.option("--out", type=OUT_FOLDER, help="Folder that receives the Parquet files and the picture.")
@config_option
@example_option("gradleak.resources", "cell.yaml")
@click.pass_context
def attack(context: click.Context, cell_path: Path | None, out: Path | None, config_path: Path) -> None:
    """Run one cell from the client's update to metrics and a picture.

    \b
    Examples:
      gradleak attack --example > cell.yaml
      gradleak attack cell.yaml --out attack/
    """
    if cell_path is None or out is None:
        raise click.UsageError("give CELL.yaml and --out DIR, or --example")
    from gradleak.documents import read_yaml
    from gradleak.stages.single import run_cell
    from gradleak.study.cell import Cell

    config = chosen_config(context, config_path)
    cell = Cell.parse(read_yaml(cell_path), str(cell_path))
    with session(config) as own:
        summary = run_cell(cell, config, out, own)
    click.echo(summary)


@click.command()
@click.argument("audit_path", metavar="AUDIT.yaml", type=PATH, required=False)
@click.option("--out", type=OUT_FOLDER, help="Folder that receives the page, tables and pictures.")
@config_option
@click.option(
    "--allow-import",
    "allowed",
    metavar="NAME",
    multiple=True,
    help="Package that model.import may be from, beside modules in the folder of the audit's file; repeatable.",
)
@example_option("gradleak.resources.audit", "audit.yaml")
@click.pass_context
def audit(
    context: click.Context, audit_path: Path | None, out: Path | None, config_path: Path, allowed: tuple[str, ...]
) -> None:
    """Audit your own model: a page with what attacks make of its clients' updates, by round and by defense.

    The model's code is run (an import path, or a TorchScript file): audit only what you trust. Runs that are finished
    are kept in the folder. The same command goes on from there. SIGTERM makes it save its state and exit with 143.

    \b
    Examples:
      gradleak audit --example > audit.yaml
      gradleak audit audit.yaml --out audit/
    """
    if audit_path is None or out is None:
        raise click.UsageError("give AUDIT.yaml and --out DIR, or --example")
    from gradleak.audit.spec import load_audit
    from gradleak.audit.write import write_audit
    from gradleak.stopping import stop_on_sigterm

    config = chosen_config(context, config_path)
    spec = load_audit(audit_path)
    with stop_on_sigterm() as stop, session(config, stop) as own:
        lines = write_audit(spec, audit_path.parent, config, out, own, allowed)
    click.echo("\n".join([*lines, f"-> {out / 'audit.html'}"]))


@click.command()
@click.argument("search_path", metavar="SEARCH.yaml", type=PATH)
@click.option("--out", type=OUT_FILE, required=True, help="YAML file that receives the settings with their evidence.")
@config_option
@click.option(
    "--auxiliaries",
    type=PATH,
    help="Folder of trained auxiliary models; those that it lacks are trained. Default: the one of `gradleak attack`.",
)
@click.pass_context
def tune(context: click.Context, search_path: Path, out: Path, config_path: Path, auxiliaries: Path | None) -> None:
    """Search for the settings of an attack, on images that are no victims.

    A search that is killed goes on when it is called again. Studies use what it finds as `attack: {tuned: NAME}`.

    \b
    Examples:
      gradleak tune workflow/searches/gia-o-n4.yaml --out workflow/tuned/gia-o-n4.yaml
      gradleak tune search.yaml --out found.yaml --config config.yaml
    """
    from gradleak.tuning.record import tune as run
    from gradleak.tuning.search import load_search

    config = chosen_config(context, config_path)
    search = load_search(search_path)
    folder = auxiliaries or config.cache / "auxiliary"
    with session(config) as own:
        summary = run(search, config, out, folder, own)
    click.echo(summary)


@click.command()
@click.argument("reference", metavar="REF.png", type=PATH)
@click.argument("reconstruction", metavar="REC.png", type=PATH)
@click.option("--cache", type=PATH, help="Cache folder; default: .cache/gradleak.")
def metrics(reference: Path, reconstruction: Path, cache: Path | None) -> None:
    """Compare two images of one size and print their metrics as JSON: lpips, psnr (dB), ssim, mse, ...

    Grey images of 16 bits and floating-point images from 0 to 1 are compared as they are, others with 8 bits.
    Fetches the LPIPS backbone into the cache folder if it is missing.

    Example: gradleak metrics victim.png reconstruction.png
    """
    # Imported late: `gradleak --help` should not wait for torch.
    from gradleak.data.base import DEFAULT_CACHE
    from gradleak.data.decode import read_image
    from gradleak.metrics.backbone import WEIGHTS, fetch_backbone
    from gradleak.metrics.base import score

    cache = cache or DEFAULT_CACHE
    truth, found = (read_image(path)[None] for path in (reference, reconstruction))
    if truth.shape != found.shape:
        sizes = [f"{image.shape[3]}x{image.shape[2]}" for image in (truth, found)]
        raise UserError(f"'{reference}' is {sizes[0]}, '{reconstruction}' is {sizes[1]}; allowed: one size")
    if not (cache / WEIGHTS).exists():
        click.echo(f"fetching the LPIPS backbone into {cache}", err=True)
        fetch_backbone(cache)
    values = score(truth, found, cache)
    click.echo(json.dumps({name: value.item() for name, value in values.items()}))
