"""Images that a training takes many times: kept in memory as bytes where there is room for them."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gradleak.data.base import ImageDataset, Split
from gradleak.errors import UserError

_KEPT_BYTES = 2 << 30
_BLOCK = 1000


class Images(Protocol):
    """Numbered images of one resolution, with labels."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def resolution(self) -> int:
        """Height and width in pixels."""

    def images(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Float32 (n, 3, resolution, resolution) in [0, 1]."""

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Int64 (n,)."""


class SplitImages:
    """The images of one split of a data set, numbered from 0: all, or `count` drawn at random with a seed.

    Raises UserError, naming `key`, where the split has fewer.
    """

    def __init__(self, dataset: ImageDataset, split: Split, count: int | None, seed: int, key: str) -> None:
        self._dataset, self._split = dataset, split
        size = dataset.size(split)
        if size < (count or 1):
            wanted = "at least 1" if count is None else count
            raise UserError(f"{key} is {wanted}, but split '{split}' of data set '{dataset.name}' has {size} images")
        rows = np.arange(size) if count is None else np.random.default_rng(seed).choice(size, count, replace=False)
        self._rows = torch.from_numpy(np.sort(rows))

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._rows)

    @property
    def resolution(self) -> int:
        """Height and width in pixels."""
        return self._dataset.resolution

    def images(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Images as float32 (n, 3, resolution, resolution) in [0, 1]."""
        return self._dataset.images(self._split, self._rows[torch.as_tensor(indices)])

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Labels as int64 (n,)."""
        return self._dataset.labels(self._split, self._rows[torch.as_tensor(indices)])


class ImagePool:
    """Images by number: kept as bytes if there is room for them, else read when asked for.

    50,000 images of 32 x 32 pixels are 150 MB. What is kept lies on `device`.
    """

    def __init__(self, source: Images, device: str = "cpu") -> None:
        self._source, self._device = source, device
        self.labels = source.labels(range(source.size)).to(device)
        """Int64 (size,)."""
        self._kept: Tensor | None = None
        if 3 * source.resolution**2 * source.size <= _KEPT_BYTES:
            blocks = [range(start, min(start + _BLOCK, source.size)) for start in range(0, source.size, _BLOCK)]
            self._kept = torch.cat([self._bytes(block) for block in blocks]).to(device)

    @property
    def size(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images float32 (n, 3, H, W) in [0, 1], in steps of 1/255, and labels (n,), of numbers int64 (n,)."""
        index = index.to(self._device)
        images = self._bytes(index).to(self._device) if self._kept is None else self._kept[index]
        return images.float().div(255), self.labels[index]

    def _bytes(self, index: range | Tensor) -> Tensor:
        return (self._source.images(index) * 255).round().byte()
