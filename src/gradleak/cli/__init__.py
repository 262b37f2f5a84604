"""The command line: one command per pipeline stage, and the tools that need no pipeline."""

import importlib
import sys

import click

from gradleak import __version__
from gradleak.errors import UserError
from gradleak.stopping import EXIT_CODE, Stopped, exit_on_sigterm

# Commands are imported when called: `gradleak --help` does not wait for torch.
SECTIONS: dict[str, dict[str, str]] = {
    "Stages of a study, in order": {
        "plan": "cells, trials, jobs and estimated hours of a study, before anything runs",
        "data": "list, look at and download data sets",
        "pretrain": "generators and enhancement networks that adversaries train on public images",
        "train": "untrained global model as a checkpoint",
        "federate": "federated training: global models of later rounds as checkpoints",
        "update": "local training of the victim clients: what the server sees",
        "smoothness": "IGSA of the attacked models, for the cells that ask for it",
        "reconstruct": "run the attacks of a batch on the shared updates",
        "score": "match reconstructions to victims and measure them",
        "collect": "join the shards of all batches",
        "tables": "tables as CSV and LaTeX",
        "figures": "figures and galleries as PDF and PNG",
        "claims": "which of the paper's findings the results support; its numbers beside ours",
        "theory": "the paper's lemma and theorems as numerical experiments, Figure 3",
        "survey": "Table 7 and Figures 1, 2 and 8",
        "report": "all of it as one HTML file, with provenance, the graph of rules and run times",
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


# Where a command lies, if not in a module of its own name.
_MODULES = {
    **dict.fromkeys(
        ("pretrain", "train", "federate", "update", "smoothness", "reconstruct", "score", "collect"), "stages"
    ),
    **dict.fromkeys(("tables", "figures", "claims", "theory", "survey", "report"), "outputs"),
    **dict.fromkeys(("attack", "audit", "tune", "metrics"), "tools"),
    "status": "plan",
    "verify": "archive",
}


class _Sections(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"gradleak.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
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
