"""The command `gradleak audit`: a user's own model, images, client and defenses."""

from importlib import resources
from pathlib import Path

import click
from click.core import ParameterSource

from gradleak.cli.options import PATH, config_option


@click.command()
@click.argument("audit_path", metavar="AUDIT.yaml", type=PATH, required=False)
@click.option("--out", type=PATH, help="Folder that receives the page, tables and pictures.")
@config_option
@click.option("--example", is_flag=True, help="Print a commented AUDIT.yaml and stop.")
@click.pass_context
def audit(context: click.Context, audit_path: Path | None, out: Path | None, config_path: Path, example: bool) -> None:
    """Audit your own model: a page with what attacks make of its clients' updates, by round and by defense.

    The model's code is run (an import path, or a TorchScript file): audit only what you trust. Runs that are finished
    are kept in the folder; the same command goes on from there. SIGTERM makes it save its state and exit with 143.

    \b
    Examples:
      gradleak audit --example > audit.yaml
      gradleak audit audit.yaml --out audit/
    """
    if example:
        text = resources.files("gradleak.resources.audit").joinpath("audit.yaml").read_text(encoding="utf-8")
        click.echo(text, nl=False)
        return
    if audit_path is None or out is None:
        raise click.UsageError("give AUDIT.yaml and --out DIR, or --example")
    from gradleak.audit.spec import load_audit
    from gradleak.audit.write import write_audit
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.config import Config, load_config
    from gradleak.stopping import stop_on_sigterm

    asked = context.get_parameter_source("config_path") is not ParameterSource.DEFAULT
    config = load_config(config_path) if asked or config_path.exists() else Config()
    spec = load_audit(audit_path)
    device = prepare(config)
    with progress_bar() as progress, stop_on_sigterm() as stop:
        lines = write_audit(spec, audit_path.parent, config, out, device, progress, stop)
    click.echo("\n".join([*lines, f"-> {out / 'audit.html'}"]))
