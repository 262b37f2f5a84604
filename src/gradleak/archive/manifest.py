"""The manifest of an archive: the SHA-256 of its files, in the format of `sha256sum`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from gradleak.errors import UserError
from gradleak.files import sha256

MANIFEST = "SHA256SUMS"
#: The files that it lists.
PLAN, RESULTS, PROVENANCE = "plan.json", "results.parquet", "provenance.json"


def manifest_text(contents: Mapping[str, bytes]) -> str:
    """One line per file: hash, two spaces, name."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())


def check_manifest(folder: Path) -> list[str]:
    """The names of an archive's files; raises UserError naming the first that is missing or is not what it was."""
    path = folder / MANIFEST
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"{path}: cannot be read, so {folder} holds no archived results; see `gradleak archive`"
        ) from None
    names = []
    for line in lines:
        expected, _, name = line.partition("  ")
        try:
            found = sha256(folder / name)
        except OSError as error:
            raise UserError(
                f"{folder / name}: {path.name} lists it, but it cannot be read ({error.strerror})"
            ) from None
        if found != expected:
            raise UserError(
                f"{folder / name}: is not the archived file: SHA-256 {found[:12]}..., listed {expected[:12]}..."
            )
        names.append(name)
    return names
