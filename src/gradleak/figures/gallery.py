"""The presentation `gallery`: victims beside (or above) their reconstructions."""

import io
from typing import TYPE_CHECKING, Literal

import pandas as pd
from PIL import Image
from pydantic import Field

from gradleak.errors import UserError
from gradleak.figures import style
from gradleak.figures.gallery_layout import draw, shared, to_lines
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.spec import PRESENTATIONS, Presentation, PresentationSpec
from gradleak.tables.summary import cell_table, ordered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GallerySpec(PresentationSpec):
    """A gallery: reconstructions by combination of `rows` (a row group) and value of `columns`, LPIPS below each.

    victims: number of different victims that a row group shows at most. column_label: text over the columns
    (default: the heading of `columns`). Where the columns of a row group attack the same victim, it stands once,
    to the left of its reconstructions; where they do not in some row group (other data set or resolution), every
    reconstruction has its victim above it.
    """

    kind: Literal["gallery"] = "gallery"
    rows: tuple[str, ...] = ()
    columns: str
    column_label: str | None = None
    victims: int = Field(2, ge=1)

    @property
    def keys(self) -> list[str]:
        """Row labels and column together."""
        return [*self.rows, self.columns]

    def columns_used(self) -> list[str]:
        """Row labels and column together."""
        return self.keys


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
        place = "to the left of" if shared(pairs, list(spec.rows)) else "above"
        caption = (
            f"{experiment.title.rstrip('.')}. Victims {place} their reconstructions, LPIPS below these. Victims are "
            "chosen by their place, not by how well they were reconstructed: the first of the first batch among those "
            f"that the most columns share. All images come from study {data.study}.\n"
        )
        return files | {"_gallery.txt": caption.encode()}


def gallery_pairs(spec: GallerySpec, experiment: Experiment, data: StudyData) -> pd.DataFrame:
    """The pairs to show: up to `spec.victims` for each combination of rows and column.

    Columns: the spec's keys, `victim` (0, 1, ... within the combination), `image`, `truth_png`,
    `reconstruction_png`, `lpips`. Of the images that occur in the most columns of a row group the first ones are
    taken, by trial in the plan's order and position in the batch; a column that lacks one of them shows its own
    first images instead. Of several trials with the same image the first counts. Raises UserError naming a cell
    without images, or with one that is not a PNG.
    """
    where = f"experiment '{experiment.name}'"
    if data.images is None:
        raise UserError(f"{where}: a gallery needs images.parquet (--images)")
    cells = cell_table(data.results, experiment, spec.keys, [])
    images = data.images[data.images["cell_id"].isin(cells["cell_id"])]
    images = images[["cell_id", "image", "position", "truth_png", "reconstruction_png", "lpips"]]
    missing = sorted(set(cells["cell_id"]) - set(images["cell_id"]))
    if missing:
        raise UserError(f"{where}: no images for cell {missing[0]}")
    pool = cells.assign(trial=range(len(cells))).merge(images, on="cell_id", suffixes=("", "_of_image"))
    pool = pool.sort_values(["trial", "position"], kind="stable")
    chosen = []
    for _, group in pool.groupby(list(spec.rows), sort=False) if spec.rows else [((), pool)]:
        spread = group.groupby("image", sort=False)[spec.columns].nunique()
        common = list(spread.index[spread == spread.max()][: spec.victims])
        for _, entry in group.groupby(spec.columns, sort=False):
            first = entry.drop_duplicates("image").set_index("image", drop=False)
            own = [image for image in first.index if image not in common]
            for victim, image in enumerate(common):
                image = image if image in first.index else next(iter(own), None)
                if image is not None:
                    own = [other for other in own if other != image]
                    chosen.append({**first.loc[image].to_dict(), "victim": victim})
    for pair in chosen:
        for column in ("truth_png", "reconstruction_png"):
            _check_png(pair[column], f"{where}: {column} of cell {pair['cell_id']}")
    keep = [*spec.keys, "victim", "image", "truth_png", "reconstruction_png", "lpips"]
    return pd.DataFrame(chosen)[keep].reset_index(drop=True)


def draw_gallery(spec: GallerySpec, pairs: pd.DataFrame) -> "Figure":
    """The figure; pairs as from `gallery_pairs`. Draw inside `style.theme()`."""
    columns = ordered(pairs[spec.columns])
    names = {
        row: ", ".join(spec.named(key, value) for key, value in zip(spec.rows, row, strict=True))
        for row in zip(*(pairs[key] for key in spec.rows), strict=True)
    }
    lines = to_lines(pairs, list(spec.rows), spec.columns, columns, names)
    return draw(
        lines, columns, [spec.shown(column) for column in columns], spec.column_label or spec.heading(spec.columns)
    )


def _check_png(png: object, where: str) -> None:
    try:
        with Image.open(io.BytesIO(png if isinstance(png, bytes) else b"")) as image:
            image.load()
    except (OSError, ValueError):
        raise UserError(f"{where} is not a PNG") from None
