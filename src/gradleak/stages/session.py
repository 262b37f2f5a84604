"""The session of a command: on which device it computes, whom it tells of progress, and what tells it to stop."""

from collections.abc import Callable
from dataclasses import dataclass

from gradleak.stopping import never

#: Counts what has been done since the last call.
Count = Callable[[int], None]


def silent(label: str, total: int) -> Count:
    """Progress that nobody looks at."""
    return lambda done: None


@dataclass(frozen=True)
class Session:
    """What a command hands to the stage that it runs.

    device: `cpu` or `cuda`. progress: given a label and a total, returns what counts up to it. stop: whether the work
    shall be saved and end.
    """

    device: str = "cpu"
    progress: Callable[[str, int], Count] = silent
    stop: Callable[[], bool] = never
