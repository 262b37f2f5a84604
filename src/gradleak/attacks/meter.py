"""Counts how far an attack in several passes is, in iterations of one pass."""

from collections.abc import Callable


class Meter:
    """Turns the iterations that passes count into a share of `total`, the iterations of one pass.

    It never goes back and never beyond the total: not where a pass ends early or passes are repeated with fewer trials.
    """

    def __init__(self, total: int, progress: Callable[[int], None] | None) -> None:
        """`progress` is given what has been done since the last time, 0 included: every iteration is reported."""
        self._total, self._progress, self._done = total, progress, 0

    def of(self, index: int, passes: int) -> Callable[[int], None] | None:
        """Return a function that counts the iterations of pass `index` of so many."""
        report, ran = self._progress, 0
        if report is None:
            return None

        def count(iterations: int) -> None:
            nonlocal ran
            ran = min(ran + iterations, self._total)
            report(self._reached((index * self._total + ran) // passes))

        return count

    def end(self) -> None:
        """Mark all passes as done, also those that ended early."""
        if self._progress is not None:
            self._progress(self._reached(self._total))

    def _reached(self, done: int) -> int:
        """Return by how much `done` exceeds all before."""
        before = self._done
        self._done = max(before, done)
        return self._done - before
