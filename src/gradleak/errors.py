"""The one error that a user is meant to see: a single clear line, without a traceback."""

import errno
import os
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

_SHOWN = 10
_SPACE = "free some space and run the same command again"
_RIGHTS = "choose another folder, or change its rights"
_NOT_A_FOLDER = "what lies there under the name of a folder is none; choose another path"
_ADVICE = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENOENT: "choose another folder",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: _NOT_A_FOLDER,
    errno.EEXIST: _NOT_A_FOLDER,
    errno.EISDIR: "a folder has this name; choose another one for the file",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


class UserError(ValueError):
    """Bad input: names the file or key, the value found, and what is allowed.

    The command line prints the message as one line and exits with code 2. Anything else that is raised is a defect
    of the program and keeps its traceback.
    """


def refused(subject: object, what: str, error: OSError) -> UserError:
    """What the system refuses as a line: subject, what cannot be done with it, the system's reason, what to do next."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = _ADVICE.get(error.errno or 0)
    return UserError(f"{subject}: cannot be {what} ({reason})" + (f"; {advice}" if advice else ""))


def one_line(text: str) -> str:
    """Text on one line for a terminal: what could steer it, such as an escape sequence, is written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


def first_line(error: Exception) -> str:
    """What an error of somebody else's code says, as part of one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def first_error(error: ValidationError) -> str:
    """The first of pydantic's complaints as one line: key, what is wrong, value found."""
    item = error.errors()[0]
    inside = [item["ctx"]["key"]] if "key" in item.get("ctx", {}) else []  # of `frozen.Frozen`
    key = ".".join(str(part) for part in (*item["loc"], *inside)) or "content"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    message = item["msg"].removeprefix("Value error, ")
    found = item.get("input")
    shown = "" if isinstance(found, dict | BaseModel) or inside or item["type"] == "missing" else f" (found {found!r})"
    return f"{key}: {message}{shown}"


def listed(names: Iterable[object]) -> str:
    """Names as an error shows them: quoted, the first ten and how many more."""
    found = [str(name) if str(name).isprintable() else ascii(str(name))[1:-1] for name in names]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in found[:_SHOWN]) + more
