"""Files that appear whole or not at all, and the provenance beside them."""

import errno
import hashlib
import json
import os
import platform
import secrets
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from gradleak.errors import UserError, refused


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` on success, remove it on failure.

    Folders that are missing are made. The file has the rights that the process's umask leaves. A process that is killed
    leaves at most the temporary file, `.<random>.part`, which nothing reads. Raises UserError where the system refuses.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rights = _created(temporary)
        try:
            yield temporary
            temporary.chmod(rights)  # a library may have put a file of its own in its place
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise refused(path, "written", error) from None


def check_writable(path: Path, folder: bool = False) -> None:
    """Raise UserError where a file, or the files of a folder, cannot be written, as far as the system says beforehand.

    Nothing is written. Raises UnicodeEncodeError for a name that is no Unicode, which not every library can write.
    """
    str(path).encode("utf-8")
    try:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
            if is_folder and not folder:
                raise IsADirectoryError(errno.EISDIR, "")
        except FileNotFoundError:
            pass
        above = path.absolute() / "any" if folder else path.absolute()
        nearest = next(parent for parent in above.parents if os.path.lexists(parent))
        if not nearest.is_dir():
            raise FileExistsError(errno.EEXIST, "")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "")
    except OSError as error:
        raise refused(path, "written", error) from None


def _created(path: Path) -> int:
    """Create an empty file and return its rights. The system applies the umask, which only it reads without a race."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_files(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder, and replace those that are there once all are written, one right after the other.

    Returns their paths. Raises UserError where the system refuses.
    """
    with ExitStack() as written:
        for name, content in reversed(list(contents.items())):  # they take their places in the order of `contents`
            written.enter_context(atomic(folder / name)).write_bytes(content)
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
        # Fixed words and the package's own path, without a shell.
        found = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10, check=True)  # noqa: S603
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
