"""How image folders are laid out: which subfolder is which split and class, and what in them is not read."""

import os
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from gradleak.data.base import Split
from gradleak.data.decode import endings, formats
from gradleak.data.splits import choose
from gradleak.errors import UserError, listed
from gradleak.files import check_regular, check_text, read_regular

#: Names of a split's folder. The first that is there and holds classes serves as the split.
NAMES: dict[Split, tuple[str, ...]] = {"train": ("train", "training"), "test": ("test", "val", "validation", "valid")}
_IMAGES = "images"
_ANNOTATIONS = "*_annotations.txt"
_OTHERS = ("__MACOSX", "Thumbs.db", "desktop.ini")
_SPLITS = {name for names in NAMES.values() for name in names}

Files = list[tuple[Path, str]]
"""Images with the names of their classes."""


class Layout:
    """A folder of images: where its splits are, and which files with which classes they have.

    Known are `<split>/<class>/*` and `<class>/*`, where a class folder may hold one folder `images`, and
    `<split>/images/*` with classes in `<split>/<split>_annotations.txt` (lines of file, class, anything). `splits`
    says which subfolder is which split. Raises UserError for a folder without classes.
    """

    def __init__(self, path: Path, splits: Mapping[Split, str]) -> None:
        if not path.is_dir():
            raise UserError(f"{path}: is not a folder of images")
        self.path = path
        folders = _folders(self.path)
        classed = [folder.name for folder in folders if folder.name in _SPLITS and _has_classes(folder)]
        if splits:
            classed += [folder.name for folder in folders if folder.name not in classed]
        chosen = choose(NAMES, classed, splits, str(self.path))
        unread = [folder.name for folder in folders if folder.name not in chosen.values()]
        self._unread: list[str] = []
        self.roots: dict[Split, Path] = {split: self.path / name for split, name in chosen.items()}
        if not chosen:
            if all(folder.name in _SPLITS for folder in folders):
                raise UserError(
                    f"{self.path}: has no class subfolders"
                    + (f" in {listed(unread)}" if unread else "")
                    + "; put the images of each class into a folder of its name"
                )
            self.roots = {"train": self.path}
        elif unread:
            self._unread.append(f"folders that are not read, beside {listed(chosen.values())}: {listed(unread)}")
        for root in self.roots.values():
            if not _has_classes(root):
                raise UserError(f"{root}: has no class subfolders, nor a file {root.name}{_ANNOTATIONS[1:]}")

    @cached_property
    def files(self) -> dict[Split, Files]:
        """The images of each split, by class, then by name."""
        return {
            split: _annotated(root) if _annotations(root) else self._by_class(root)
            for split, root in self.roots.items()
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for all that is not read, and for the classes that a split has no image of."""
        lines = []
        for split, files in self.files.items():
            names = {name for _, name in files}
            lacking = [name for name in self.classes if name not in names]
            lines += [f"{split} has no image of {listed(lacking)}"] if lacking else []
        return (*self._unread, *lines)

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, sorted: those of their folders, empty ones too, and those of annotations."""
        annotated = {name for split, root in self.roots.items() if _annotations(root) for _, name in self.files[split]}
        folders = {folder.name for root in self.roots.values() for folder in _class_folders(root)}
        return sorted(folders | annotated)

    def _by_class(self, root: Path) -> Files:
        found: Files = []
        unread: list[Path] = []
        for folder in _class_folders(root):
            check_text(folder.name, str(root))
            images, others = _images(folder)
            inside = _folders(folder)
            if not images and [entry.name for entry in inside] == [_IMAGES]:
                images, more = _images(folder / _IMAGES)
                others += more
                inside = _folders(folder / _IMAGES)
            if not images and inside:
                raise UserError(
                    f"{folder}: has no images, but folders ({listed(entry.name for entry in inside)}); name as path "
                    "the folder whose subfolders are the classes"
                )
            unread += [*others, *inside]
            found += [(image, folder.name) for image in images]
        if root == self.path:
            unread += _images(root)[0]
        if unread:
            kinds = Counter(path.suffix.lower() or path.name for path in unread)
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            if not found:
                raise UserError(f"{root}: holds no image that can be read, but {counts}; read are {formats()}")
            self._unread.append(f"files that are not read: {counts} (first: {unread[0].relative_to(self.path)})")
        return found


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What a folder holds, by name, without hidden files and what archive programs leave behind."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _OTHERS]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None
    for entry in found:
        if entry.is_symlink() and not os.path.exists(entry.path):
            check_regular(Path(entry.path))  # raises UserError: it leads nowhere, or to itself
    return sorted(found, key=lambda entry: entry.name)


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if _is_folder(entry)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere or to itself is none."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())


def _class_folders(root: Path) -> list[Path]:
    return [] if _annotations(root) else _folders(root)


def _images(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files that end as images do, and the others. Raises UserError for a pipe or a broken link among them."""
    known, images, others = endings(), [], []
    for entry in _entries(folder):
        if _is_folder(entry):
            continue
        path = Path(entry.path)
        if path.suffix.lower() not in known:
            others.append(path)
            continue
        if not entry.is_file(follow_symlinks=False):
            check_regular(path)
        images.append(path)
    return images, others


def _has_classes(root: Path) -> bool:
    folders = [folder.name for folder in _folders(root)]
    return bool(folders) and (folders != [_IMAGES] or _annotations(root) is not None)


def _annotations(root: Path) -> Path | None:
    """The file that says the classes of `root/images/*`, if there is one."""
    if not (root / _IMAGES).is_dir():
        return None
    return next(iter(sorted(root.glob(_ANNOTATIONS))), None)


def _annotated(root: Path) -> Files:
    where = _annotations(root)
    assert where is not None
    try:
        lines = read_regular(where).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{where}: not a text file in UTF-8") from None
    named: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            file, _, rest = line.partition("\t") if "\t" in line else line.partition(" ")
            name = rest.split("\t")[0].strip() if "\t" in line else rest.split(" ")[0]
            if not name:
                raise UserError(f"{where}: line {number} is {line[:60]!r}, must be a file, a tab and its class")
            if named.setdefault(file.strip(), name) != name:
                raise UserError(f"{where}: line {number} gives '{file.strip()}' a second class '{name}'")
    images = {path.name: path for path in _images(root / _IMAGES)[0]}
    without = [name for name in images if name not in named]
    if without:
        raise UserError(
            f"{where}: gives no class to {len(without)} of {len(images)} images (first: {without[0]}); add them, or "
            "choose another split (splits: {test: ...})"
        )
    missing = next((file for file in named if file not in images), None)
    if missing is not None:
        raise UserError(f"{where}: names '{missing}', which is not in '{root / _IMAGES}'")
    return sorted(((path, named[name]) for name, path in images.items()), key=lambda pair: (pair[1], pair[0].name))
