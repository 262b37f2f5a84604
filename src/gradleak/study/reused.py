"""Cells that a study takes over from archives instead of computing them, and the manifest of an archive."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from gradleak.documents import read_text
from gradleak.errors import UserError
from gradleak.files import sha256

MANIFEST = "SHA256SUMS"

#: The files that it lists.
PLAN, RESULTS, PROVENANCE = FILES = "plan.json", "results.parquet", "provenance.json"


def manifest_text(contents: Mapping[str, bytes]) -> str:
    """One line per file: hash, two spaces, name."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())


def check_manifest(folder: Path) -> list[str]:
    """The names of an archive's files: `FILES`, regular ones, and nothing else.

    Raises UserError naming the first that is missing, not listed, a link, or is not what it was.
    """
    path = folder / MANIFEST
    try:
        lines = read_text(path, most=100_000).splitlines()
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: {reason}, so {folder} holds no archived results; see `gradleak archive`") from None
    names = []
    for line in lines:
        expected, _, name = line.partition("  ")
        if name not in FILES or name in names:
            raise UserError(f"{path}: lists {name!r}; an archive has {', '.join(FILES)}, each once")
        try:
            if (folder / name).is_symlink() or ((folder / name).exists() and not (folder / name).is_file()):
                raise UserError(f"{folder / name}: is no regular file; an archive holds its files itself")
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
    if missing := [name for name in FILES if name not in names]:
        raise UserError(f"{path}: does not list {missing[0]}; an archive has {', '.join(FILES)}")
    return names


Content = TypeVar("Content")


@dataclass(frozen=True)
class Reused:
    """The cells of a study that one archive holds.

    archive: its folder. sha256: of its manifest, which binds the content of all its files. data: the fingerprints of
    its data sets by name. cells: ids.
    """

    archive: str
    sha256: str
    data: Mapping[str, str]
    cells: Sequence[str]

    def folder(self) -> Path:
        """The archive's folder. Raises UserError if it has changed since the study was planned."""
        folder = Path(self.archive)
        check_manifest(folder)
        if sha256(folder / MANIFEST) != self.sha256:
            raise UserError(
                f"{folder}: is another archive than the one that was planned with; run `gradleak plan` again"
            )
        return folder


def read_reused(plan: Mapping[str, Any]) -> list[Reused]:
    """The archives that a plan (content of plan.json) takes cells over from. Raises TypeError if it is no plan."""
    return [Reused(**entry) for entry in plan.get("reused", [])]


def take_over(wanted: Mapping[str, object], archives: Iterable[Reused]) -> list[Reused]:
    """The wanted cells that archives hold, each from the first that has it. Archives without any are left out."""
    taken: list[Reused] = []
    for archive in archives:
        held = set(archive.cells)
        if found := [cell for cell in others(wanted, taken) if cell in held]:
            taken.append(replace(archive, cells=found))
    return taken


def others(cells: Mapping[str, Content], entries: Iterable[Reused]) -> dict[str, Content]:
    """The cells that this study computes itself, by id."""
    taken = reused_cells(entries)
    return {name: cell for name, cell in cells.items() if name not in taken}


def reused_cells(entries: Iterable[Reused]) -> frozenset[str]:
    """Ids of all cells that are taken over."""
    return frozenset(cell for entry in entries for cell in entry.cells)


def check_fingerprint(entries: Iterable[Reused], name: str, fingerprint: str) -> None:
    """Raise UserError if an archive's cells were computed on another data set of this name."""
    for entry in entries:
        if entry.data.get(name, fingerprint) != fingerprint:
            raise UserError(
                f"data set '{name}' has SHA-256 {fingerprint[:12]}..., but the cells reused from {entry.archive} were "
                f"computed with {entry.data[name][:12]}...; use the same data, or take the archive out of 'reuse'"
            )
