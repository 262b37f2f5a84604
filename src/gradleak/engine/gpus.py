"""Claims one of several GPUs for this process alone, as a scheduler does on a cluster."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gradleak.errors import UserError

_LOOK_AGAIN_S = 0.5


def claim_gpu(say: Callable[[str], None]) -> None:
    """Choose a GPU that no other process of this machine has claimed, wait for one if need be, and see no other.

    Does nothing where fewer than two are visible: there a scheduler has chosen, or there is no choice. The claim is a
    lock on a file in the temporary folder, which the system releases when the process ends, however it ends. Call
    before anything uses CUDA. `say` gets one line if the process has to wait. Raises UserError where somebody else has
    made the folder of locks, or put a link in its place: they would decide which files are written.
    """
    visible = visible_gpus()
    if len(visible) < 2:
        return
    folder = Path(tempfile.gettempdir()) / f"gradleak-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: is not a folder of this user's; remove it, or set TMPDIR to another folder")
    said = False
    while not any(_claimed(folder, gpu) for gpu in visible):
        if not said:
            say(f"all of GPUs {', '.join(visible)} are in use; waiting for one")
            said = True
        time.sleep(_LOOK_AGAIN_S)


def visible_gpus() -> list[str]:
    """GPUs that CUDA would show this process, as CUDA_VISIBLE_DEVICES names them. Does not initialise CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index in range(torch.cuda.device_count())]
    return [name.strip() for name in named.split(",") if name.strip()]


def _claimed(folder: Path, gpu: str) -> bool:
    """Lock a GPU's file; on success the descriptor stays open until the process ends, and the lock with it."""
    descriptor = os.open(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    return True
