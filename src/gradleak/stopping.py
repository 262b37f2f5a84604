"""Ending early without losing work: schedulers send SIGTERM some seconds before they kill a job."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Exit code of a command that SIGTERM ended: 128 plus the signal's number, as shells give it.
EXIT_CODE = 128 + signal.SIGTERM


class Stopped(Exception):
    """The process was asked to end, and what it had computed is saved: the same command goes on from there."""


def never() -> bool:
    """Return False: nobody asks for an early end."""
    return False


def exit_on_sigterm() -> None:
    """Let SIGTERM end the process as an error would: temporary files are removed, exit code 143."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(EXIT_CODE))


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM has come; until the block ends, the signal does nothing else.

    For loops that can save where they are: see `resume.StateFile`.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)
