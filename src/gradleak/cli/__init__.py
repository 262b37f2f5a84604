"""The command line: one command per pipeline stage, and the tools that need no pipeline."""

import importlib
import sys

import click

from gradleak import __version__
from gradleak.errors import UserError
from gradleak.pipeline.stages import FORMER_COMMANDS, STAGES, TITLES
from gradleak.stopping import EXIT_CODE, Stopped, exit_on_sigterm

SECTIONS: dict[str, dict[str, str]] = {
    "Stages of a study, in order": {
        "plan": "cells, trials, jobs and estimated hours of a study, before anything runs",
        **TITLES,
    },
    "Tools": {
        "status": "what of a study is done, started, failed and waiting, and how long it will take",
        "attack": "run one cell alone, from update to picture",
        "audit": "your own model, images, client and defenses: a page of what leaks, by round and by defense",
        "tune": "search for the settings of an attack on images that are no victims",
        "archive": "keep of a finished run what can be committed: results and provenance, no images",
        "verify": "compute a random sample of an archive's cells again and compare",
        "metrics": "LPIPS, PSNR, SSIM and MSE between two images",
    },
}
# Modules are imported when one of their commands is called: `gradleak --help` does not wait for torch.
_MODULES = {
    **dict.fromkeys(TITLES, "stages"),
    **{stage.name: "outputs" for stage in STAGES if stage.group == "shown"},
    **dict.fromkeys(["attack", "audit", "tune", "metrics"], "tools"),
    **{"plan": "plan", "status": "plan", "data": "data", "archive": "archive", "verify": "archive"},
}


class _Sections(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = FORMER_COMMANDS.get(cmd_name, cmd_name)
        if name not in _MODULES:
            return None
        if name != cmd_name:
            click.echo(
                f"gradleak: the command '{cmd_name}' is now '{name}'; the old name goes with version 0.2", err=True
            )
        module = importlib.import_module(f"gradleak.cli.{_MODULES[name]}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gradleak")
def cli() -> None:
    """Measure when gradient inversion attacks work in federated learning.

    \b
    Examples:
      gradleak plan --study quick
      gradleak attack --example > cell.yaml
      gradleak attack cell.yaml --out attack/
    """


def main() -> None:
    """Run the command line; a UserError is one line on stderr and exit code 2, SIGTERM is exit code 143."""
    exit_on_sigterm()
    try:
        cli.main(standalone_mode=False)
    except UserError as error:
        click.echo(f"gradleak: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except Stopped as stopped:
        click.echo(f"gradleak: stopped by SIGTERM; {stopped}; the same command goes on from there", err=True)
        sys.exit(EXIT_CODE)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("gradleak: interrupted", err=True)
        sys.exit(130)
