"""The command `gradleak tune`: a search for the settings of an attack."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, chosen_config, config_option


@click.command()
@click.argument("search_path", metavar="SEARCH.yaml", type=PATH)
@click.option("--out", type=PATH, required=True, help="YAML file that receives the settings with their evidence.")
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
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.tuning.record import tune as run
    from gradleak.tuning.search import load_search

    config = chosen_config(context, config_path)
    search = load_search(search_path)
    device = prepare(config)
    folder = auxiliaries or config.cache / "auxiliary"
    with progress_bar() as progress:
        summary = run(search, config, out, device, folder, progress)
    click.echo(summary)
