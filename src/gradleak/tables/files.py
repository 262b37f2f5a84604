"""Writing a file in one step, so that no reader ever sees half of it."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> Path:
    """Write `content` to `path` through a temporary file in the same folder; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
