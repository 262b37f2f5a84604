"""Errors of a user's own code as one line: what was asked of it, and the last line of what it says."""

from collections.abc import Iterator
from contextlib import contextmanager

from gradleak.engine.device import is_oom
from gradleak.errors import UserError
from gradleak.stopping import EXIT_CODE, Stopped

_LONGEST = 240


class OwnCodeError(UserError):
    """What a user's own code raised, as one line; `words` are its own."""

    def __init__(self, what: str, words: str) -> None:
        super().__init__(f"{what} ({words})")
        self.words = words


@contextmanager
def own_code(what: str, *others: type[Exception]) -> Iterator[None]:
    """Turn whatever is raised inside but `others`, an exit too, into an OwnCodeError that begins with `what`.

    What is not the code's fault goes on: errors in one line already, SIGTERM, and memory that does not suffice.
    """
    passing: tuple[type[BaseException], ...] = (UserError, Stopped, *others)
    try:
        yield
    except passing:
        raise
    except (Exception, SystemExit) as error:
        if is_oom(error) or (isinstance(error, SystemExit) and error.code == EXIT_CODE):
            raise
        raise OwnCodeError(what, own_words(error)) from None


def own_words(error: BaseException) -> str:
    """The kind of an error and the last line of its message, shortened."""
    if isinstance(error, OwnCodeError):
        return error.words
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f": {lines[-1]}" if lines else ""
    text = f"{type(error).__name__}{said}"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
