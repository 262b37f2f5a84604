"""What the page shows of each experiment: figures and tables with captions, numbers and scale."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from gradleak.analysis.scale import scale
from gradleak.presentations import divergence
from gradleak.presentations.base import Presentation
from gradleak.presentations.captions import warning
from gradleak.presentations.read import ShownExperiment
from gradleak.presentations.table import Table
from gradleak.report import pivot
from gradleak.report.read import Picture, picture, read_csv, read_text
from gradleak.report.sections import PaperSection, section_of
from gradleak.report.tables import NOTHING, HtmlTable, html, line_by_line, plain

_KINDS = {"line": "plot", "rounds": "plot over rounds", "gallery": "reconstructions", "bars": "bars"}
_KINDS |= {"tradeoff": "trade-off", "correlation": "rank correlation", "curve": "one curve"}

_CAPTIONS = {
    "curve": "A line is about all entries, or those of one colour: Spearman's rank correlation ρ of y with x, its 95 %"
    " interval (low, high); the standard deviation of y around its mean (sd), around the one monotone curve through all"
    " entries (residual) and around a curve of its own, which is never farther (own residual); the mean of y less the"
    " one curve (offset).",
    "contrast": "A line compares images: the difference is the mean of what stands under against, less that of the"
    " baseline, with its 95 % interval (low, high) by bootstrap; p is two-sided. It has a sign where the interval"
    " excludes 0.",
    "correlation": "Spearman's rank correlation ρ of x and y over a factor's values, each point a mean over trials,"
    " with its 95 % interval (low, high) by Fisher's transformation; p is that of a two-sided permutation test.",
}


@dataclass(frozen=True)
class Item:
    """One figure or table. numbers: those that a figure draws. files: names of all its files."""

    kind: str
    caption: Markup
    files: tuple[str, ...]
    picture: Picture | None = None
    table: HtmlTable | None = None
    numbers: HtmlTable | None = None

    @property
    def anchor(self) -> str:
        """Its id in the page."""
        return f"file-{Path(self.files[0]).stem}"


@dataclass(frozen=True)
class Entry:
    """An experiment, or something else that the paper has one title for.

    note: what the study says of it. scale: what was attacked. reads: names by which claims refer to it. shown: paths of
    the files that it is made of. left_out: figures that are not there, for the study's folder has no images
    of its cells.
    """

    anchor: str
    title: Markup
    paper: str
    items: tuple[Item, ...]
    shown: tuple[Path, ...]
    note: Markup = NOTHING
    scale: str = ""
    reads: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def section(self) -> PaperSection:
        """Where the page has it."""
        return section_of(self.paper)


def experiment_entry(
    experiment: ShownExperiment, note: str, folder: Path, results: pd.DataFrame, images: bool
) -> Entry:
    """An experiment of a plan. note: what the study says of it. images: whether the study's folder has any of it.

    Raises UserError for a missing or bad file. Without images, galleries may be missing, as in an archive.
    """
    items: list[Item] = []
    shown: list[Path] = []
    left_out: list[str] = []
    for presentation in experiment.show:
        files = presentation.files(experiment.name)
        if presentation.needs_images and not images and not (folder / files[0]).exists():
            left_out.append(Path(files[0]).stem)
            continue
        items += _items(presentation, experiment, folder, results)
        shown += [folder / name for name in files if not name.endswith((".pdf", ".tex"))]
    return Entry(
        anchor=f"experiment-{experiment.name}",
        title=html(experiment.title),
        paper=experiment.paper,
        items=tuple(items),
        shown=tuple(shown),
        note=html(note),
        scale=scale(results, list(experiment.cells["cell_id"])),
        reads=(experiment.name,),
        left_out=tuple(left_out),
    )


def figure_item(stem: str, folder: Path, alt: str, made_by: str, kind: str, files: tuple[str, ...]) -> Item:
    """A figure with the caption, and the numbers, of the text and CSV files of the same name that are among `files`."""
    caption = html(read_text(folder / f"{stem}.txt", made_by).strip()) if f"{stem}.txt" in files else NOTHING
    shown = picture(folder / f"{stem}.png", alt, made_by)
    numbers = line_by_line(read_csv(folder / f"{stem}.csv", made_by)) if f"{stem}.csv" in files else None
    return Item(kind, caption, files, picture=shown, numbers=numbers)


def _items(presentation: Presentation, experiment: ShownExperiment, folder: Path, results: pd.DataFrame) -> list[Item]:
    """A figure for every PNG that a presentation writes, a table for every CSV file without one."""
    kind = _KINDS.get(presentation.kind, presentation.kind)
    made_by = f"gradleak {presentation.stage}"
    endings: dict[str, list[str]] = {}
    for name in presentation.files(experiment.name):
        endings.setdefault(Path(name).stem, []).append(Path(name).suffix)
    items = []
    for stem, found in endings.items():
        own = tuple(stem + ending for ending in found)
        if ".png" in found:
            alt = f"{experiment.paper}, {kind}: {plain(experiment.title)}"
            items.append(figure_item(stem, folder, alt, made_by, kind, own))
        elif ".csv" in found:
            table, caption = _table(presentation, folder / f"{stem}.csv", made_by)
            if not isinstance(presentation, Table):  # whose entries have marks
                caption = f"{caption} {divergence.counted(results, experiment)}"
            caption = f"{warning(experiment, results)} {caption}".strip()
            items.append(Item(kind, html(caption), own, table=table))
    return items


def _table(presentation: Presentation, path: Path, made_by: str) -> tuple[HtmlTable, str]:
    """The table of a CSV file, and what its numbers are, in words."""
    if isinstance(presentation, Table):
        rows = read_csv(path, made_by, pivot.needed(presentation), numbers=pivot.NUMBERS)
        return pivot.rows_by_columns(presentation, rows), pivot.caption(presentation, rows)
    return line_by_line(read_csv(path, made_by), presentation), _CAPTIONS.get(presentation.kind, "")
