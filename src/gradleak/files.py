"""Files that appear whole or not at all, and the provenance beside them."""

import hashlib
import json
import os
import platform
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from gradleak.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` on success, remove it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_files(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder, each atomically. Returns their paths. Raises UserError if it cannot be a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be a folder ({error.strerror})") from None
    for name, content in contents.items():
        with atomic(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in contents]


def check_text(name: str, where: str) -> None:
    """Raise UserError unless a file's or folder's name is text, which a file system does not promise."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: holds a name that is no text in UTF-8 ({name!a}); rename it") from None


def check_regular(path: Path) -> None:
    """Raise UserError unless a path is a file that can be read to its end: a pipe or device would make us wait."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise UserError(f"{path}: is {kinds.get(stat.S_IFMT(mode), 'a device')}, must be a file")


def read_regular(path: Path) -> bytes:
    """A file's content. Raises UserError if it cannot be read, or is a folder, pipe, device or socket."""
    check_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_provenance(path: Path, started: float, **facts: object) -> None:
    """Write `<path>.provenance.json`: what is not deterministic about a result, kept out of the result itself."""
    content = {
        "file": path.name,
        "sha256": sha256(path),
        "seconds": round(time.time() - started, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        **software(),
        **facts,
    }
    write_text(path.with_name(path.name + ".provenance.json"), json.dumps(content, indent=1, sort_keys=True))


def software(*more: str) -> dict[str, object]:
    """Versions of Python, of the packages that decide a result and of `more` packages, and the commit if known."""
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("gradleak", "torch", "torchvision", "numpy", "lpips", *more)},
        "commit": _commit(),
    }


def _commit() -> str | None:
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
