"""The peer's virtual environment, `.venv-bench` beside `.venv`: the peer pins nothing, and nothing of ours needs it."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

PEER = "breaching==0.1.2"
FOLDER = Path(__file__).resolve().parents[2] / ".venv-bench"


def requirements() -> list[str]:
    """The peer and the same PyTorch as ours; pip adds what the peer declares (hydra-core, lpips, scipy)."""
    return [PEER, *(f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "torchvision"))]


def prepare() -> Path:
    """Make the environment where it is missing or for other versions; returns its Python. Raises SystemExit."""
    python, marker, wanted = FOLDER / "bin" / "python", FOLDER / ".ready", "\n".join(requirements())
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return python
    print(f"making {FOLDER.name} with {', '.join(requirements())}", file=sys.stderr, flush=True)
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        for command in (
            [sys.executable, "-m", "venv", str(FOLDER)],
            [str(python), "-m", "pip", "install", "--quiet", *requirements()],
        ):
            subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"cannot make the peer's environment {FOLDER.name}: {error}") from None
    marker.write_text(wanted, encoding="utf-8")
    return python
