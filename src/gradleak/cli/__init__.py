"""The command line: one command per pipeline stage, and the tools that need no pipeline."""

import importlib
import io
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from gradleak import __version__
from gradleak.errors import UserError, one_line, refused
from gradleak.pipeline.stages import FORMER_COMMANDS, STAGES, TITLES
from gradleak.place import check_place
from gradleak.stopping import EXIT_CODE, Stopped, exit_on_sigterm

SECTIONS: dict[str, dict[str, str]] = {
    "Stages of a study, in order": {
        "plan": "cells, trials, jobs and estimated hours of a study, before anything runs",
        **TITLES,
    },
    "Tools": {
        "doctor": "whether this machine and this folder are ready, and for each fault what to do",
        "status": "what of a study is done, started, failed and waiting, and how long it will take",
        "summary": "what a study found, in ten lines, and where to look next",
        "checkpoint": "an untrained global model of a study as a file",
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
    "checkpoint": "stages",
    **dict.fromkeys(["attack", "audit", "tune", "metrics"], "tools"),
    **dict.fromkeys(["plan", "status", "summary"], "plan"),
    **{"doctor": "doctor", "data": "data", "archive": "archive", "verify": "archive"},
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
    """Run the command line.

    What a user can mend, a UserError or what the system refuses, is one line on stderr and exit code 2. Signals end it
    with the exit codes that shells give: 130 for SIGINT, 143 for SIGTERM. It ends silently with exit code 1 where the
    reader of its output has gone.
    """
    exit_on_sigterm()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the locale cannot express is written as its code
            stream.reconfigure(errors="backslashreplace")
    try:
        _run()
    except BrokenPipeError:
        sys.exit(1)
    except UserError as error:
        _fail(error)
    except OSError as error:
        _fail(refused(error.filename or "a file or the output", "used", error))
    except UnicodeEncodeError as error:
        found = error.object[error.start : error.end]
        _fail(f"{found!r}: cannot be expressed in {error.encoding}; choose other names, or set PYTHONUTF8=1")
    except MemoryError:
        _fail("memory: there is not enough; end other programs, or choose fewer or smaller images")
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


def _run() -> None:
    try:
        check_place(Path.cwd())
    except FileNotFoundError:
        raise UserError("the working directory is gone; change into one that is there") from None
    try:
        cli.main(standalone_mode=False)
    finally:
        _flush()


def _flush() -> None:
    """Write what is left of the output; where that fails, keep Python from trying again at its end."""
    if sys.stdout is None:  # closed by the caller
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _fail(reason: object) -> NoReturn:
    click.echo(f"gradleak: {one_line(str(reason))}", err=True)
    sys.exit(2)
