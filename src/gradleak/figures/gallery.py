"""The presentation `gallery`: victims above their reconstructions, one pair per row group and column."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from gradleak.errors import UserError
from gradleak.figures import style
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.spec import PRESENTATIONS, Presentation, PresentationSpec
from gradleak.tables.summary import cell_table, ordered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches: a picture, the gap between pictures, the space for headings, for LPIPS and between row groups.
TILE, GAP, HEAD, FOOT, BETWEEN = 0.66, 0.05, 0.36, 0.2, 0.1


class GallerySpec(PresentationSpec):
    """A gallery: one victim and its reconstruction per combination of `rows` (a row group) and value of
    `columns`.
    """

    kind: Literal["gallery"] = "gallery"
    rows: tuple[str, ...] = ()
    columns: str
    column_label: str | None = None

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
            figure = draw(spec, pairs)
            files = {"_gallery.pdf": style.file_bytes(figure, "pdf"), "_gallery.png": style.small_png(figure)}
        caption = (
            f"{experiment.title.rstrip('.')}. Victims, and below them their reconstructions with LPIPS. "
            "Victims are chosen by index, not by how well they were reconstructed: the one that most columns "
            "share, of those the lowest index, in the first trial that has it. "
            f"All images come from study {data.study}.\n"
        )
        return files | {"_gallery.txt": caption.encode()}


def gallery_pairs(spec: GallerySpec, experiment: Experiment, data: StudyData) -> pd.DataFrame:
    """The pair shown for each combination of rows and column.

    Columns: the spec's keys, `image`, `truth_png`, `reconstruction_png`, `lpips`. Of a row group's victims
    the one that occurs in most columns is taken (ties: the lowest index), and elsewhere the lowest index of
    the entry; of an entry's trials the first in the plan that has it. Raises UserError naming a cell without
    images.
    """
    if data.images is None:
        raise UserError(f"experiment '{experiment.name}': a gallery needs images.parquet (--images)")
    cells = cell_table(data.results, experiment, spec.keys, [])
    images = data.images[data.images["cell_id"].isin(cells["cell_id"])]
    missing = sorted(set(cells["cell_id"]) - set(images["cell_id"]))
    if missing:
        raise UserError(f"experiment '{experiment.name}': no images for cell {missing[0]}")
    cells = cells.assign(trial=range(len(cells)))
    pool = cells.merge(images, on="cell_id", suffixes=("", "_of_image")).sort_values(["trial", "position"])
    groups = pool.groupby(list(spec.rows), sort=False) if spec.rows else [((), pool)]
    chosen = []
    for _, group in groups:
        spread = group.groupby("image")[spec.columns].nunique()
        common = int(spread[spread == spread.max()].index.min())
        for _, entry in group.groupby(spec.columns, sort=False):
            image = common if (entry["image"] == common).any() else int(entry["image"].min())
            chosen.append(entry[entry["image"] == image].iloc[0])
    for pair in chosen:
        for column in ("truth_png", "reconstruction_png"):
            _check_png(pair[column], f"experiment '{experiment.name}': {column} of cell {pair['cell_id']}")
    keep = [*spec.keys, "image", "truth_png", "reconstruction_png", "lpips"]
    return pd.DataFrame(chosen)[keep].reset_index(drop=True)


def draw(spec: GallerySpec, pairs: pd.DataFrame) -> "Figure":
    """The figure; pairs as from `gallery_pairs`. Draw inside `style.theme()`."""
    columns = ordered(pairs[spec.columns])
    strips = _strips(spec, pairs, columns)
    left = 0.12 + max(style.text_width(strip.name, 8) for strip in strips)
    tile = min(TILE, (style.WIDTHS["page"] - left) / len(columns) - GAP)
    heading = spec.column_label or spec.heading(spec.columns)
    pictures = len(columns) * (tile + GAP) - GAP
    middle = left + pictures / 2
    # A heading wider than its columns needs room on both sides of their middle.
    half = style.text_width(heading, 8) / 2 + 0.03
    left, middle = left + max(0.0, half - middle), max(half, middle)
    width = max(left + pictures, middle + half) + 0.02
    tops = []
    below = HEAD
    for i, strip in enumerate(strips):
        below += BETWEEN if strip.victims and i else 0.0
        tops.append(below)
        below += tile + (GAP if strip.victims else FOOT)
    height = below + 0.02
    figure = style.new_figure(width, height)

    def write(x: float, y: float, text: str, size: float, **align: Any) -> None:
        figure.text(x / width, 1 - y / height, text, fontsize=size, **align)

    write(middle, 0.03, heading, 8, ha="center", va="top")
    for j, column in enumerate(columns):
        x = left + j * (tile + GAP)
        write(x + tile / 2, HEAD - 0.03, spec.shown(column), 8, ha="center", va="baseline")
        for strip, top in zip(strips, tops, strict=True):
            picture = strip.pictures.get(column)
            if picture is not None:
                _tile(figure, picture, x, height - top - tile, tile)
            if column in strip.scores:
                write(x + tile / 2, top + tile + 0.03, strip.scores[column], 7, ha="center", va="top")
    for strip, top in zip(strips, tops, strict=True):
        write(left - 0.07, top + tile / 2, strip.name, 8, ha="right", va="center")
    return figure


@dataclass(frozen=True)
class _Strip:
    """One line of pictures, by column: victims, or reconstructions with their LPIPS."""

    name: str
    victims: bool
    pictures: dict[object, bytes]
    scores: dict[object, str]


def _strips(spec: GallerySpec, pairs: pd.DataFrame, columns: list[object]) -> list[_Strip]:
    """Lines of pictures from top to bottom; row groups in succession share a line of equal victims."""
    groups: dict[tuple[object, ...], dict[object, dict[str, Any]]] = {}
    for pair in pairs.to_dict("records"):
        row = tuple(pair[key] for key in spec.rows)
        groups.setdefault(row, {})[pair[spec.columns]] = {str(key): value for key, value in pair.items()}
    strips: list[_Strip] = []
    victims: dict[object, bytes] = {}
    for row, found in groups.items():
        own = {column: found[column]["truth_png"] for column in columns if column in found}
        if any(victims.get(column) != png for column, png in own.items()):
            victims = own
            strips.append(_Strip("Victim", True, own, {}))
        pictures = {column: found[column]["reconstruction_png"] for column in own}
        scores = {column: f"{found[column]['lpips']:.4f}" for column in own}
        name = ", ".join(spec.shown(value) for value in row) or "Reconstruction"
        strips.append(_Strip(name, False, pictures, scores))
    return strips


def _tile(figure: "Figure", png: bytes, x: float, y: float, size: float) -> None:
    """Draw a PNG at a place in inches, pixels enlarged by whole factors or averaged down to what 300 dpi can
    show.
    """
    width, height = figure.get_size_inches()
    axes = figure.add_axes((x / width, y / height, size / width, size / height))
    axes.set_axis_off()
    pixels = round(300 * size)
    picture = _decode(png)
    if picture.width > pixels:
        picture = picture.resize((pixels, pixels), Image.Resampling.BOX)
    axes.imshow(np.asarray(picture), interpolation="nearest")


def _decode(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB")


def _check_png(png: object, where: str) -> None:
    try:
        _decode(png if isinstance(png, bytes) else b"")
    except (OSError, ValueError):
        raise UserError(f"{where} is not a PNG") from None
