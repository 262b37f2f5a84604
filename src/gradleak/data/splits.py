"""How data that comes in one piece is divided into disjoint train and test images."""

import hashlib
from collections.abc import Callable
from typing import Generic, TypeVar

from gradleak.data.base import Split
from gradleak.errors import UserError

TEST_SHARE = 0.2

T = TypeVar("T")


class Splits(Generic[T]):
    """Maps (split, index) to (part, row), where a part is a file or folder that the data comes in.

    With two parts, each is a split and its order is kept. A single part is shuffled by a fixed rule, the same
    on every machine and for every library version: its rows are ordered by the SHA-256 of their number, the
    first fifth (rounded, at least one) is `test` and the rest is `train`. The order stays shuffled, so that
    data sorted by class gives neighbours of different classes. Sizes are counted on first use only.
    """

    def __init__(self, parts: dict[Split, T], count: Callable[[T], int], where: str) -> None:
        if not parts:
            raise ValueError("no parts")
        self._parts = parts
        self._count = count
        self._where = where
        self._rows: dict[Split, list[int]] = {}
        self._sizes: dict[Split, int] = {}

    def size(self, split: Split) -> int:
        """Number of images of `split`. Raises UserError where the data has too few."""
        if split not in self._sizes:
            self._load(split)
        return self._sizes[split]

    def locate(self, split: Split, index: int) -> tuple[T, int]:
        """The part and the row in it of image `index` of `split`."""
        self.size(split)
        if len(self._parts) == 2:
            return self._parts[split], index
        return next(iter(self._parts.values())), self._rows[split][index]

    def _load(self, split: Split) -> None:
        if len(self._parts) == 2:
            self._sizes[split] = self._count(self._parts[split])
            if self._sizes[split] == 0:
                raise UserError(f"{self._where}: split '{split}' has no images")
            return
        total = self._count(next(iter(self._parts.values())))
        if total < 2:
            raise UserError(f"{self._where}: found {total} images, at least 2 are needed to split train from test")
        test, train = shuffled_split(total)
        self._rows = {"train": train, "test": test}
        self._sizes = {"train": len(train), "test": len(test)}


def shuffled_split(total: int) -> tuple[list[int], list[int]]:
    """Row numbers of (test, train) for `total` >= 2 rows in one piece, both shuffled (see `Splits`)."""
    order = sorted(range(total), key=lambda row: hashlib.sha256(f"gradleak split {row}".encode()).digest())
    test = min(total - 1, max(1, round(TEST_SHARE * total)))
    return order[:test], order[test:]
