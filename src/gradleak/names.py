"""Names that become files and folders: which ones are allowed, and which the pipeline has for itself."""

import re
from collections.abc import Collection, Iterable, Iterator

from gradleak.errors import UserError

LONGEST = 64
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")

#: Beside the studies' own folders under `results` and `paper_figures`.
STUDIES_RESERVED = frozenset({"theory", "survey", "logs", "benchmarks"})
#: Beside the files of a study's experiments under `paper_figures/<study>`.
EXPERIMENTS_RESERVED = frozenset({"claims", "published", "published_rates", "auxiliary"})


def check_name(name: object, what: str, reserved: Collection[str] = ()) -> str:
    """The name, if it may be that of a file. Raises UserError that begins with `what`, and says what to do, if not."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"{what} {name!r}: becomes the name of a file, so it must be 1 to {LONGEST} letters (a to z, A to Z), "
            "digits, '.', '_' or '-', and not begin with '.' or '-'; rename it"
        )
    if name.lower() in reserved:
        raise UserError(f"{what} {name!r}: the pipeline has files of its own under this name; rename it")
    return name


def check_names(names: Iterable[object], what: str, reserved: Collection[str] = ()) -> None:
    """`check_name` of several that lie beside each other. Two that differ in case alone are one file on some disks."""
    known: dict[str, str] = {}
    for name in names:
        text = check_name(name, what, reserved)
        other = known.setdefault(text.lower(), text)
        if other != text:
            raise UserError(f"{what} {text!r}: differs from {other!r} only in case, which some disks take for one file")


def texts(content: object, where: str) -> Iterator[tuple[str, str]]:
    """Every text in content, a key too, and where it is. Content is nested as YAML and JSON are."""
    if isinstance(content, str):
        yield where, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from texts(key, where)
            yield from texts(value, f"{where}.{key}")
    elif isinstance(content, list):
        for value in content:
            yield from texts(value, where)


def check_texts(content: object, where: str) -> None:
    """Raise UserError for a control character, such as that of a terminal's escape sequences, in any text of content.

    Line ends and tabs are none here.
    """
    for place, text in texts(content, where):
        wrong = next((c for c in text if not c.isprintable() and c not in "\n\t" and ord(c) < 0xA0), None)
        if wrong is not None:
            raise UserError(f"{place}: holds the control character {wrong!r}; leave it out")
