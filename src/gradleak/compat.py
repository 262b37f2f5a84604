"""Makes `import torchvision` work beside a CPU-only torch whose wheel cannot load torchvision's C++ extension."""

import importlib.util
from pathlib import Path

import torch

# The library object has to stay alive: the schemas vanish with it.
_SCHEMAS: list[torch.library.Library] = []


def prepare_torchvision() -> None:
    """Define the two operators that torchvision's import looks for, only where its extension cannot be loaded.

    torchvision registers fake kernels for `nms` and `qnms` when it is imported and fails if the extension that
    defines them is missing. Nothing here calls them. On an installation whose extension loads, nothing is touched.
    Callers import torchvision where they need it, not at the top of a module: its import loads torch's compiler, more
    processor time than all else that a small job imports.
    """
    if _SCHEMAS or hasattr(torch.ops.torchvision, "nms") or _extension_loads():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for operator in ("nms", "qnms"):
        library.define(operator + signature)
    _SCHEMAS.append(library)


def _extension_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for extension in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(extension))
        except OSError:
            return False
    return True
