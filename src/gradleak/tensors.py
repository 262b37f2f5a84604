"""Named tensors in safetensors files, each written whole or not at all."""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gradleak.files import atomic


def write_tensors(content: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors, from any device and in any layout, atomically. Raises UserError where the system refuses."""
    plain = {name: value.cpu().contiguous() for name, value in content.items()}
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, metadata)
        except SafetensorError as error:
            if (number := re.search(r"\(os error (\d+)\)", str(error))) is None:
                raise
            raise OSError(int(number[1]), str(error)) from None
