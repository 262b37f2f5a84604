"""Options and helpers that several commands share."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gradleak.files import check_writable
from gradleak.stages.session import Count, Session
from gradleak.stopping import never

if TYPE_CHECKING:
    from gradleak.study.config import Config

PATH = click.Path(path_type=Path)


class _Output(click.Path):
    """A path that a command writes. One that cannot be written is refused before anything is computed."""

    def __init__(self, folder: bool) -> None:
        super().__init__(path_type=Path)
        self._folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        check_writable(path, self._folder)
        return path


OUT_FILE, OUT_FOLDER = _Output(folder=False), _Output(folder=True)

plan_option = click.option("--plan", "plan_path", type=PATH, required=True, help="plan.json of the study.")
batch_option = click.option("--batch", required=True, help="Id of a batch in the plan.")
out_option = click.option("--out", type=OUT_FILE, required=True, help="File to write.")
checkpoints_option = click.option("--checkpoints", type=PATH, required=True, help="Folder of checkpoints.")
auxiliaries_option = click.option(
    "--auxiliaries", type=PATH, default=Path("auxiliary"), help="Folder of trained auxiliary models, if there are any."
)
config_option = click.option(
    "--config", "config_path", type=PATH, default=Path("config.yaml"), show_default=True, help="Settings."
)


def example_option(package: str, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--example`: print a commented file that lies in a package, and stop."""

    def show(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
        if asked:
            click.echo(resources.files(package).joinpath(name).read_text(encoding="utf-8"), nl=False)
            context.exit()

    help_text = f"Print a commented {Path(name).stem.upper()}.yaml and stop."
    return click.option("--example", is_flag=True, is_eager=True, expose_value=False, callback=show, help=help_text)


def chosen_config(context: click.Context, path: Path) -> "Config":
    """The settings that `--config` names, or by default those of config.yaml, or ours if there is no such file.

    Raises UserError for a file that was asked for and cannot be read.
    """
    from gradleak.study.config import Config, load_config

    asked = context.get_parameter_source("config_path") is not ParameterSource.DEFAULT
    return load_config(path) if asked or path.exists() else Config()


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int], Count]]:
    """Yield `progress(label, total) -> count(iterations)`; bars on a terminal, sparse lines in a log file."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log_lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:

        def progress(label: str, total: int) -> Count:
            task = bars.add_task(label, total=total)
            return lambda iterations: bars.update(task, advance=iterations)

        yield progress


def _log_lines(label: str, total: int) -> Count:
    done, quarter = 0, -1

    def count(iterations: int) -> None:
        nonlocal done, quarter
        done += iterations
        if done * 4 // total > quarter:
            quarter = done * 4 // total
            click.echo(f"{label}: {done} of {total}", err=True)

    return count


@contextmanager
def session(config: "Config", stop: Callable[[], bool] = never) -> Iterator[Session]:
    """Set up the process for a config's device, threads and precision, and show progress; `stop` as of `Session`."""
    device = prepare(config)
    with progress_bar() as progress:
        yield Session(device, progress, stop)


def prepare(config: "Config") -> str:
    """Set up the process for a config's device, threads and precision. Returns the device.

    Of several GPUs it takes one that no other command has.
    """
    from gradleak.engine.device import prepare_device, resolve_device
    from gradleak.engine.gpus import claim_gpu

    if config.device != "cpu":
        claim_gpu(lambda line: click.echo(f"gradleak: {line}", err=True))
    device = resolve_device(config.device)
    prepare_device(device, config.threads, config.precision)
    return device


def prepare_cpu(config: "Config") -> None:
    """Set up the process of a stage that computes on the CPU, in float32, whatever the config says."""
    from gradleak.engine.device import prepare_device

    prepare_device("cpu", config.threads, "float32")
