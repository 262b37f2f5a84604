"""The command `gradleak audit`: a user's own model, images, client and defenses."""

from pathlib import Path

import click

from gradleak.cli.options import PATH, chosen_config, config_option, example_option


@click.command()
@click.argument("audit_path", metavar="AUDIT.yaml", type=PATH, required=False)
@click.option("--out", type=PATH, help="Folder that receives the page, tables and pictures.")
@config_option
@example_option("gradleak.resources.audit", "audit.yaml")
@click.pass_context
def audit(context: click.Context, audit_path: Path | None, out: Path | None, config_path: Path) -> None:
    """Audit your own model: a page with what attacks make of its clients' updates, by round and by defense.

    The model's code is run (an import path, or a TorchScript file): audit only what you trust. Runs that are finished
    are kept in the folder; the same command goes on from there. SIGTERM makes it save its state and exit with 143.

    \b
    Examples:
      gradleak audit --example > audit.yaml
      gradleak audit audit.yaml --out audit/
    """
    if audit_path is None or out is None:
        raise click.UsageError("give AUDIT.yaml and --out DIR, or --example")
    from gradleak.audit.spec import load_audit
    from gradleak.audit.write import write_audit
    from gradleak.cli.options import prepare, progress_bar
    from gradleak.stopping import stop_on_sigterm

    config = chosen_config(context, config_path)
    spec = load_audit(audit_path)
    device = prepare(config)
    with progress_bar() as progress, stop_on_sigterm() as stop:
        lines = write_audit(spec, audit_path.parent, config, out, device, progress, stop)
    click.echo("\n".join([*lines, f"-> {out / 'audit.html'}"]))
