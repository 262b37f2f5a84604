"""The presentation `gallery`: victims beside (or above) their reconstructions."""

import io
from typing import TYPE_CHECKING, Literal, Self

import pandas as pd
from PIL import Image
from pydantic import Field, model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import DIVERGED, cell_table, ordered
from gradleak.errors import UserError
from gradleak.presentations import divergence, markup, style
from gradleak.presentations.base import PRESENTATIONS, Presentation
from gradleak.presentations.captions import titled
from gradleak.presentations.gallery_layout import draw_panels
from gradleak.presentations.gallery_lines import CAPTION, VICTIM, Panel, Place, shared, to_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRIAL = "place in the plan"


@PRESENTATIONS.register("gallery")
class Gallery(Presentation):
    """A gallery: reconstructions by combination of `rows` (a row group) and value of `columns`, LPIPS below each.

    victims: number of different victims that a row group shows at most. column_label: text over the columns
    (default: the heading of `columns`). panels: a label or column; each value gets a panel of its own, side by side
    under its name, with the columns and row groups that it has. caption: a label or column whose value stands below
    each victim.

    place, of the victims: `auto` or `beside`. Auto: where the columns of a row group attack the same victim, it
    stands once, to the left of its reconstructions; where they do not in some row group (other data set or
    resolution), every reconstruction has its victim above it. Beside: each reconstruction has its victim to its left.

    Writes `<name>_gallery.pdf`, `.png` and `.txt` (caption).
    """

    needs_images = True
    endings = ("_gallery.pdf", "_gallery.png", "_gallery.txt")

    kind: Literal["gallery"] = "gallery"
    rows: tuple[str, ...] = ()
    columns: str
    panels: str | None = None
    column_label: str | None = None
    caption: str | None = None
    victims: int = Field(2, ge=1)
    place: Literal["auto", "beside"] = "auto"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.keys)) != len(self.keys):
            raise ValueError("panels, rows and columns must not repeat a name")
        if self.panels and self.column_label:
            raise ValueError("column_label stands where panels have their names: give one of them")
        return self

    @property
    def groups(self) -> list[str]:
        """Panel and row labels together: what makes a row group."""
        return [*([self.panels] if self.panels else []), *self.rows]

    @property
    def keys(self) -> list[str]:
        """Panel, row labels and column together."""
        return [*self.groups, self.columns]

    @property
    def columns_read(self) -> list[str]:
        """The keys and the caption."""
        return list(dict.fromkeys([*self.keys, *([self.caption] if self.caption else [])]))

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """See `Presentation.check`."""
        cell_table(data.results, experiment, self.columns_read, [])

    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All three files; raises UserError for an unknown column, or a cell without results or images."""
        pairs = self.pairs(experiment, data)
        with style.theme():
            files = style.image_files(self.draw(pairs), "_gallery")
        where = {"aside": "to the left of", "above": "above", "beside": "beside"}[self.victim_place(pairs)]
        absent = int(experiment.cells["cell_id"].isin(data.reused).sum())
        reused = (
            f" {absent} of {len(experiment.cells)} cells come from an archive and have no pictures." if absent else ""
        )
        marks = divergence.explained(divergence.DAGGER, pairs.get(DIVERGED, ()))
        marks = f"{marks} " if marks else ""
        caption = (
            f"{markup.sentence(titled(experiment, data.results))} Victims {where} their reconstructions, LPIPS below "
            "these. Victims are chosen by their place, not by how well they were reconstructed: the first of the first "
            f"batch among those that the most columns share. {marks}All images come from study {data.study}.{reused}\n"
        )
        return files | {"_gallery.txt": caption.encode()}

    def pairs(self, experiment: Experiment, data: StudyData) -> pd.DataFrame:
        """The pairs to show: up to `victims` for each combination of rows and column.

        Columns: the `keys`, `VICTIM` (0, 1, ... within the combination), `image`, `truth_png`, `reconstruction_png`,
        `lpips`, `CAPTION` (text, may be empty), and `DIVERGED` where the client of some cell did. Of the images that
        occur in the most columns of a row group the first ones are taken, by trial in the plan's order and position in
        the batch; a column that lacks one of them shows its own first images instead. Of several trials with the same
        image the first counts. Cells from archives, which hold no images, are passed over. Raises UserError naming
        another cell without images, or with one that is not a PNG, and where all cells come from archives.
        """
        where = f"experiment '{experiment.name}'"
        if data.images is None:
            raise UserError(f"{where}: a gallery needs images.parquet (--images)")
        cells = cell_table(data.results, experiment, self.columns_read, [])
        cells = divergence.marked(cells, data.results, experiment)
        cells = cells[~cells["cell_id"].isin(data.reused)]
        if cells.empty:
            raise UserError(f"{where}: a gallery needs pictures, and all cells come from archives, which hold none")
        images = data.images[data.images["cell_id"].isin(cells["cell_id"])]
        images = images[["cell_id", "image", "position", "truth_png", "reconstruction_png", "lpips"]]
        missing = sorted(set(cells["cell_id"]) - set(images["cell_id"]))
        if missing:
            raise UserError(f"{where}: no images for cell {missing[0]}")
        pool = cells.assign(**{_TRIAL: range(len(cells))}).merge(images, on="cell_id", suffixes=("", "_of_image"))
        pool = pool.sort_values([_TRIAL, "position"], kind="stable")
        pool[CAPTION] = pool[self.caption].map(self.shown) if self.caption else ""
        chosen = []
        for _, group in pool.groupby(self.groups, sort=False) if self.groups else [((), pool)]:
            spread = group.groupby("image", sort=False)[self.columns].nunique()
            common = list(spread.index[spread == spread.max()][: self.victims])
            for _, entry in group.groupby(self.columns, sort=False):
                first = entry.drop_duplicates("image").set_index("image", drop=False)
                own = [image for image in first.index if image not in common]
                for victim, image in enumerate(common):
                    image = image if image in first.index else next(iter(own), None)
                    if image is not None:
                        own = [other for other in own if other != image]
                        chosen.append({**first.loc[image].to_dict(), VICTIM: victim})
        for pair in chosen:
            for column in ("truth_png", "reconstruction_png"):
                _check_png(pair[column], f"{where}: {column} of cell {pair['cell_id']}")
        keep = dict.fromkeys([*self.keys, VICTIM, "image", "truth_png", "reconstruction_png", "lpips", CAPTION])
        keep |= {DIVERGED: None} if DIVERGED in pool else {}
        return pd.DataFrame(chosen)[list(keep)].reset_index(drop=True)

    def victim_place(self, pairs: pd.DataFrame) -> Place:
        """Where victims stand in the whole gallery; pairs as from `pairs`."""
        if self.place == "beside":
            return "beside"
        return "aside" if shared(pairs, self.groups) else "above"

    def draw(self, pairs: pd.DataFrame) -> "Figure":
        """The figure; pairs as from `pairs`. Draw inside `style.theme()`."""
        place = self.victim_place(pairs)
        if self.panels is None:
            return draw_panels([self._panel(self.column_label or self.heading(self.columns), pairs, place)])
        values = ordered(pairs[self.panels])
        parts = [(self.named(self.panels, value), pairs[pairs[self.panels] == value]) for value in values]
        return draw_panels([self._panel(title, part, place) for title, part in parts])

    def _panel(self, title: str, pairs: pd.DataFrame, place: Place) -> Panel:
        columns = ordered(pairs[self.columns])
        names = {
            row: ", ".join(self.named(key, value) for key, value in zip(self.rows, row, strict=True))
            for row in zip(*(pairs[key] for key in self.rows), strict=True)
        }
        lines = to_lines(pairs, list(self.rows), self.columns, columns, names, place)
        return Panel(title, columns, [self.shown(column) for column in columns], lines)


def _check_png(png: object, where: str) -> None:
    try:
        with Image.open(io.BytesIO(png if isinstance(png, bytes) else b"")) as image:
            image.load()
    except (OSError, ValueError):
        raise UserError(f"{where} is not a PNG") from None
