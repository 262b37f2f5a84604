"""Which pictures and texts stand in which line of a gallery."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from gradleak.analysis.summary import DIVERGED
from gradleak.presentations.divergence import DAGGER

#: Where victims stand: once to the left of all columns, in a line above, or in each column beside its reconstruction.
Place = Literal["aside", "above", "beside"]

#: Columns of the pairs in a gallery that no label of a study can be called: number of the victim within its row group,
#: and the text under it.
VICTIM, CAPTION = "number of the victim", "text of the victim"

Row = tuple[object, ...]

Entries = dict[object, dict[str, Any]]


@dataclass(frozen=True)
class Line:
    """One line of pictures by column.

    label: text to its left, which lines in succession with the same `group` share; below: texts under the pictures;
    beside: a victim to the left of each picture, with texts `beside_below`; victim: picture of the victim's own
    column, with the text `victim_below`; leads: whether it is a line of victims for the lines under it.
    """

    group: int
    label: str
    pictures: dict[object, bytes]
    below: dict[object, str] = field(default_factory=dict)
    beside: dict[object, bytes] = field(default_factory=dict)
    beside_below: dict[object, str] = field(default_factory=dict)
    victim: bytes | None = None
    victim_below: str = ""
    leads: bool = False

    @property
    def has_text(self) -> bool:
        """Whether anything stands under a picture."""
        return bool(self.below or self.beside_below or self.victim_below)


@dataclass(frozen=True)
class Panel:
    """Columns under one title: their values, the headings over them, and their lines from top to bottom."""

    title: str
    columns: list[object]
    headings: list[str]
    lines: list[Line]


def shared(pairs: pd.DataFrame, rows: list[str]) -> bool:
    """Whether the columns of every row group attack the same victims."""
    return bool((pairs.groupby([*rows, VICTIM], sort=False)["truth_png"].nunique() == 1).all())


def to_lines(
    pairs: pd.DataFrame, rows: list[str], column: str, columns: list[object], names: dict[Row, str], place: Place
) -> list[Line]:
    """The lines of a panel from top to bottom; `pairs` as from `gallery_pairs`, `names` labels row groups.

    Aside and beside: one line per row group and victim. Above: a line of victims, below it one line per row group;
    row groups in succession share a line of victims that is right for both. The text `CAPTION` of a pair, where it
    is not empty, stands under its victim.
    """
    found: dict[Row, dict[int, Entries]] = {}
    for pair in pairs.to_dict("records"):
        entries = found.setdefault(tuple(pair[key] for key in rows), {}).setdefault(pair[VICTIM], {})
        entries[pair[column]] = {str(key): value for key, value in pair.items()}
    if place == "above":
        return _with_leads(found, columns, names)
    make = _aside if place == "aside" else _beside
    return [
        make(group, names.get(row, ""), {key: entries[key] for key in columns if key in entries})
        for group, (row, victims) in enumerate(found.items())
        for entries in victims.values()
    ]


def _with_leads(found: dict[Row, dict[int, Entries]], columns: list[object], names: dict[Row, str]) -> list[Line]:
    lines: list[Line] = []
    for run in _runs(found):
        for victim in range(max(len(found[row]) for row in run)):
            entries = {key: entry for row in run for key, entry in found[row].get(victim, {}).items()}
            entries = {key: entries[key] for key in columns if key in entries}
            lines.append(Line(len(lines), "Victim", _truths(entries), _captions(entries), leads=True))
            for row in run:
                if victim in found[row]:
                    own = {key: found[row][victim][key] for key in columns if key in found[row][victim]}
                    name = names.get(row) or "Reconstruction"
                    lines.append(Line(len(lines), name, _reconstructions(own), _scores(own)))
    return lines


def _aside(group: int, label: str, entries: Entries) -> Line:
    first = next(iter(entries.values()))
    below = str(first[CAPTION])
    return Line(
        group, label, _reconstructions(entries), _scores(entries), victim=first["truth_png"], victim_below=below
    )


def _beside(group: int, label: str, entries: Entries) -> Line:
    return Line(
        group,
        label,
        _reconstructions(entries),
        _scores(entries),
        beside=_truths(entries),
        beside_below=_captions(entries),
    )


def _truths(entries: Entries) -> dict[object, bytes]:
    return {key: entry["truth_png"] for key, entry in entries.items()}


def _reconstructions(entries: Entries) -> dict[object, bytes]:
    return {key: entry["reconstruction_png"] for key, entry in entries.items()}


def _scores(entries: Entries) -> dict[object, str]:
    return {key: f"{entry['lpips']:.4f}{DAGGER * bool(entry.get(DIVERGED))}" for key, entry in entries.items()}


def _captions(entries: Entries) -> dict[object, str]:
    return {key: str(entry[CAPTION]) for key, entry in entries.items() if entry[CAPTION]}


def _runs(found: dict[Row, dict[int, Entries]]) -> list[list[Row]]:
    """Row groups in succession whose victims agree wherever both have one."""
    runs: list[list[Row]] = []
    known: dict[tuple[int, object], bytes] = {}
    for row, victims in found.items():
        own = {(i, key): entry["truth_png"] for i, entries in victims.items() for key, entry in entries.items()}
        if runs and all(known.get(place, png) == png for place, png in own.items()):
            runs[-1].append(row)
            known |= own
        else:
            runs.append([row])
            known = own
    return runs
