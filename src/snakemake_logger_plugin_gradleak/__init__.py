"""Snakemake's `--logger gradleak`: shows a run as `gradleak.pipeline.screen` says.

A package of this name is how Snakemake finds its plugins. Dry runs, and whoever asks Snakemake to say more or less than
it does by itself, get its own lines.
"""

import logging
import os
import sys

from rich.console import Console
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase

from gradleak.pipeline.screen import Screen


class LogHandler(LogHandlerBase):
    """Takes the place of Snakemake's handler for the terminal."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._own = ColorizingTextHandler(settings.nocolor, sys.stdout if settings.stdout else sys.stderr)
        self._own.setFormatter(DefaultFormatter(settings.quiet, settings.show_failed_logs))
        self._own.addFilter(
            DefaultFilter(
                settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
            )
        )
        self._screen = None
        if not (settings.dryrun or settings.verbose or settings.debug_dag or settings.printshellcmds or settings.quiet):
            console = Console(stderr=True, no_color=True if settings.nocolor else None, highlight=False)
            live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
            self._screen = Screen(console, self._pass_on, live)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record. Snakemake calls this in one thread."""
        if self._screen is None:
            self._own.handle(record)
            return
        try:
            self._screen.take(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._screen is not None:
            self._screen.close()
        super().close()

    def _pass_on(self, record: logging.LogRecord) -> None:
        self._own.setStream(sys.stderr)  # while there is a bar, what is written there stands above it
        self._own.handle(record)
