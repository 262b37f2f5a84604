"""Grey photographs as vectors: what the theorems call x."""

import torch
from torch import Tensor

from gradleak.data.base import open_dataset


def photographs(indices: list[int], side: int) -> Tensor:
    """Test images of photos10 in grey: float64 (n, side * side) in [0, 1]."""
    images = open_dataset("photos10", side, {}).images("test", indices)
    return images.mean(dim=1).flatten(1).to(torch.float64)
