"""What of a study is computed in a number of minutes, for the terminal: by experiment, and cell by cell."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table

from gradleak.study.choosing import Choice


def choice_summary(choice: Choice, lines: Sequence[str]) -> Group:
    """By experiment, how many cells are chosen, of how many entries that have none yet, and for how many minutes.

    Then `lines`, which say what is left out. A cell counts where it was asked for, with what is trained for it.
    """
    table = Table(title=f"chosen for {choice.minutes:g} minutes", box=None, title_justify="left")
    for column in ("experiment", "cells", "first seen", "undecided before", "minutes"):
        table.add_column(column, justify="left" if column == "experiment" else "right")
    cells = Counter(pick.experiment for pick in choice.picks)
    first = Counter(pick.experiment for pick in choice.picks if pick.trial == 1)
    for name in choice.study.experiments:
        seconds = sum(pick.seconds for pick in choice.picks if pick.experiment == name)
        numbers = cells[name], first[name], choice.undecided.get(name, 0)
        table.add_row(name, *map(str, numbers), f"{seconds / 60:.1f}")
    return Group(table, *lines)


def choice_table(choice: Choice) -> Table:
    """The chosen cells in order, with what each is expected to narrow, its seconds, and why it was chosen."""
    table = Table(box=None)
    for column in ("cell", "experiment", "entry", "trial", "narrows LPIPS by", "seconds", "why"):
        table.add_column(column, justify="left" if column in ("cell", "experiment", "entry", "why") else "right")
    for pick in choice.picks:
        entry = ", ".join(f"{name} {value}" for name, value in pick.labels.items())
        numbers = str(pick.trial), f"{pick.value:.3f}", f"{pick.seconds:.1f}"
        table.add_row(pick.cell, pick.experiment, entry, *numbers, pick.reason)
    return table
