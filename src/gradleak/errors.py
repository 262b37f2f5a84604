"""The one error that a user is meant to see: a single clear line, without a traceback."""

from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

_SHOWN = 10


class UserError(ValueError):
    """Bad input: names the file or key, the value found, and what is allowed.

    The command line prints the message as one line and exits with code 2. Anything else that is raised is a defect
    of the program and keeps its traceback.
    """


def first_error(error: ValidationError) -> str:
    """The first of pydantic's complaints as one line: key, what is wrong, value found."""
    item = error.errors()[0]
    key = ".".join(str(part) for part in item["loc"]) or "content"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    message = item["msg"].removeprefix("Value error, ")
    found = item.get("input")
    shown = "" if isinstance(found, dict | BaseModel) or item["type"] == "missing" else f" (found {found!r})"
    return f"{key}: {message}{shown}"


def listed(names: Iterable[object]) -> str:
    """Names as an error shows them: quoted, the first ten and how many more."""
    found = [str(name) for name in names]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in found[:_SHOWN]) + more
