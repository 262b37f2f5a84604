"""How data that comes in one piece is divided into disjoint train and test images."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence

from gradleak.data.base import Split
from gradleak.errors import UserError, listed

TEST_SHARE = 0.2


def choose(
    known: Mapping[Split, Sequence[str]], there: Collection[str], asked: Mapping[Split, str], where: str
) -> dict[Split, str]:
    """The name that serves as each split: the asked one, else the first known one that is there.

    No name serves twice: one that is asked for as both is one part, to be divided. Raises UserError, listing those that
    are there, for an asked one that is not.
    """
    chosen: dict[Split, str] = {}
    for split, names in known.items():
        name = asked.get(split) or next((name for name in names if name in there and name not in asked.values()), None)
        if name is not None and name not in there:
            raise UserError(f"{where}: splits.{split} is '{name}'; splits there: {listed(sorted(there)) or 'none'}")
        if name is not None and name not in chosen.values():
            chosen[split] = name
    return chosen


class Splits:
    """Maps (split, index) to (part, row), where a part is what the data has under the name of a split.

    With two parts, each is a split and its order is kept. A single part is shuffled by a fixed rule, the same
    on every machine and for every library version: its rows are ordered by the SHA-256 of their number, the
    first fifth (rounded, at least one) is `test` and the rest is `train`. The order stays shuffled, so that
    data sorted by class gives neighbours of different classes. Rows are counted on first use only.
    """

    def __init__(self, parts: Collection[Split], count: Callable[[Split], int], where: str) -> None:
        """`count`: the number of rows of a part. `where` names the data in errors."""
        self._parts = tuple(parts)
        if not self._parts:
            raise ValueError("no parts")
        self._count = count
        self._where = where
        self._rows: dict[Split, Sequence[int]] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """That the data was divided by our rule, where it was."""
        if len(self._parts) == 2:
            return ()
        found, total = self.size("test"), self._count(self._parts[0])
        return (f"has one split only; {found} of its {total} images are taken as test, by a fixed rule",)

    def size(self, split: Split) -> int:
        """Number of images of `split`. Raises UserError where the data has too few."""
        return len(self._rows_of(split))

    def locate(self, split: Split, index: int) -> tuple[Split, int]:
        """The part and the row in it of image `index` of `split`."""
        return split if len(self._parts) == 2 else self._parts[0], self._rows_of(split)[index]

    def _rows_of(self, split: Split) -> Sequence[int]:
        if split in self._rows:
            return self._rows[split]
        if len(self._parts) == 2:
            size = self._count(split)
            if size == 0:
                raise UserError(f"{self._where}: split '{split}' has no images")
            self._rows[split] = range(size)
        else:
            total = self._count(self._parts[0])
            if total < 2:
                raise UserError(f"{self._where}: found {total} images, at least 2 are needed to split train from test")
            order = sorted(range(total), key=lambda row: hashlib.sha256(f"gradleak split {row}".encode()).digest())
            test = min(total - 1, max(1, round(TEST_SHARE * total)))
            self._rows = {"test": order[:test], "train": order[test:]}
        return self._rows[split]
