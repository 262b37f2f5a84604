"""Named tensors in safetensors files, each written whole or not at all."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save, save_file
from torch import Tensor

from gradleak.files import atomic


def write_tensors(content: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors, from any device and in any layout, atomically. Raises UserError where the system refuses."""
    plain = _plain(content)
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, metadata)
        except SafetensorError as error:
            if (number := re.search(r"\(os error (\d+)\)", str(error))) is None:
                raise
            raise OSError(int(number[1]), str(error)) from None


def tensors_sha256(content: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: of what a file of them holds."""
    return hashlib.sha256(save(_plain(content))).hexdigest()


def _plain(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu().contiguous() for name, value in content.items()}
