"""The presentation `gallery`: victims beside (or above) their reconstructions."""

import io
from typing import TYPE_CHECKING, Literal, Self

import pandas as pd
from PIL import Image
from pydantic import Field, model_validator

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table, ordered
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.presentations.base import PRESENTATIONS, Presentation, PresentationSpec
from gradleak.presentations.gallery_layout import draw
from gradleak.presentations.gallery_lines import CAPTION, VICTIM, Panel, Place, shared, to_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRIAL = "place in the plan"


class GallerySpec(PresentationSpec):
    """A gallery: reconstructions by combination of `rows` (a row group) and value of `columns`, LPIPS below each.

    victims: number of different victims that a row group shows at most. column_label: text over the columns
    (default: the heading of `columns`). panels: a label or column; each value gets a panel of its own, side by side
    under its name, with the columns and row groups that it has. caption: a label or column whose value stands below
    each victim.

    place, of the victims: `auto` or `beside`. Auto: where the columns of a row group attack the same victim, it
    stands once, to the left of its reconstructions; where they do not in some row group (other data set or
    resolution), every reconstruction has its victim above it. Beside: each reconstruction has its victim to its left.
    """

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

    def columns_used(self) -> list[str]:
        """Panel, row labels and column, and the caption."""
        return list(dict.fromkeys([*self.keys, *([self.caption] if self.caption else [])]))


@PRESENTATIONS.register("gallery")
class Gallery(Presentation):
    """Writes `<name>_gallery.pdf`, `.png` and `.txt` (caption)."""

    Spec = GallerySpec
    needs_images = True
    endings = ("_gallery.pdf", "_gallery.png", "_gallery.txt")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """All three files; raises UserError for an unknown column, or a cell without results or images."""
        assert isinstance(spec, GallerySpec)
        pairs = gallery_pairs(spec, experiment, data)
        with style.theme():
            figure = draw_gallery(spec, pairs)
            files = {"_gallery.pdf": style.file_bytes(figure, "pdf"), "_gallery.png": style.small_png(figure)}
        where = {"aside": "to the left of", "above": "above", "beside": "beside"}[victim_place(spec, pairs)]
        absent = int(experiment.cells["cell_id"].isin(data.reused).sum())
        reused = (
            f" {absent} of {len(experiment.cells)} cells come from an archive and have no pictures." if absent else ""
        )
        caption = (
            f"{experiment.title.rstrip('.')}. Victims {where} their reconstructions, LPIPS below these. Victims are "
            "chosen by their place, not by how well they were reconstructed: the first of the first batch among those "
            f"that the most columns share. All images come from study {data.study}.{reused}\n"
        )
        return files | {"_gallery.txt": caption.encode()}


def gallery_pairs(spec: GallerySpec, experiment: Experiment, data: StudyData) -> pd.DataFrame:
    """The pairs to show: up to `spec.victims` for each combination of rows and column.

    Columns: the spec's keys, `VICTIM` (0, 1, ... within the combination), `image`, `truth_png`, `reconstruction_png`,
    `lpips`, `CAPTION` (text, may be empty). Of the images that occur in the most columns of a row group the first
    ones are taken, by trial in the plan's order and position in the batch; a column that lacks one of them shows its
    own first images instead. Of several trials with the same image the first counts. Cells from archives, which hold no
    images, are passed over. Raises UserError naming another cell without images, or with one that is not a PNG, and
    where all cells come from archives.
    """
    where = f"experiment '{experiment.name}'"
    if data.images is None:
        raise UserError(f"{where}: a gallery needs images.parquet (--images)")
    cells = cell_table(data.results, experiment, spec.columns_used(), [])
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
    pool[CAPTION] = pool[spec.caption].map(spec.shown) if spec.caption else ""
    chosen = []
    for _, group in pool.groupby(spec.groups, sort=False) if spec.groups else [((), pool)]:
        spread = group.groupby("image", sort=False)[spec.columns].nunique()
        common = list(spread.index[spread == spread.max()][: spec.victims])
        for _, entry in group.groupby(spec.columns, sort=False):
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
    keep = dict.fromkeys([*spec.keys, VICTIM, "image", "truth_png", "reconstruction_png", "lpips", CAPTION])
    return pd.DataFrame(chosen)[list(keep)].reset_index(drop=True)


def victim_place(spec: GallerySpec, pairs: pd.DataFrame) -> Place:
    """Where victims stand in the whole gallery; pairs as from `gallery_pairs`."""
    if spec.place == "beside":
        return "beside"
    return "aside" if shared(pairs, spec.groups) else "above"


def draw_gallery(spec: GallerySpec, pairs: pd.DataFrame) -> "Figure":
    """The figure; pairs as from `gallery_pairs`. Draw inside `style.theme()`."""
    place = victim_place(spec, pairs)
    if spec.panels is None:
        return draw([_panel(spec, spec.column_label or spec.heading(spec.columns), pairs, place)])
    values = ordered(pairs[spec.panels])
    parts = [(spec.named(spec.panels, value), pairs[pairs[spec.panels] == value]) for value in values]
    return draw([_panel(spec, title, part, place) for title, part in parts])


def _panel(spec: GallerySpec, title: str, pairs: pd.DataFrame, place: Place) -> Panel:
    columns = ordered(pairs[spec.columns])
    names = {
        row: ", ".join(spec.named(key, value) for key, value in zip(spec.rows, row, strict=True))
        for row in zip(*(pairs[key] for key in spec.rows), strict=True)
    }
    lines = to_lines(pairs, list(spec.rows), spec.columns, columns, names, place)
    return Panel(title, columns, [spec.shown(column) for column in columns], lines)


def _check_png(png: object, where: str) -> None:
    try:
        with Image.open(io.BytesIO(png if isinstance(png, bytes) else b"")) as image:
            image.load()
    except (OSError, ValueError):
        raise UserError(f"{where} is not a PNG") from None
