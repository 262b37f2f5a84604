"""Checksums of victims: which pixels were attacked, without the pixels."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable

import pandas as pd
from PIL import Image

from gradleak.data.base import ImageDataset
from gradleak.data.pictures import to_pil
from gradleak.errors import UserError
from gradleak.frozen import Frozen
from gradleak.specs import DatasetSpec
from gradleak.study.cell import Cell


class Victims(Frozen):
    """The attacked images of one data set at one resolution: index in the split `test` -> checksum."""

    dataset: DatasetSpec
    images: dict[int, str]


def victim_checksums(cells: Iterable[Cell], images: pd.DataFrame) -> list[Victims]:
    """The checksums of all victims of cells, from their pictures (`truth_png`), by data set and index."""
    specs = {cell.id: cell.dataset for cell in cells}
    found: dict[str, dict[int, str]] = defaultdict(dict)
    known: dict[str, DatasetSpec] = {}
    for cell, index, png in zip(images["cell_id"], images["image"], images["truth_png"], strict=True):
        spec = specs[cell]
        key = spec.model_dump_json()
        known[key] = spec
        if int(index) not in found[key]:
            found[key][int(index)] = _checksum(Image.open(io.BytesIO(png)))
    return [Victims(dataset=known[key], images=dict(sorted(found[key].items()))) for key in sorted(known)]


def join_victims(first: Iterable[Victims], second: Iterable[Victims]) -> list[Victims]:
    """All victims of both. Raises UserError for one whose pixels differ."""
    found: dict[str, Victims] = {entry.dataset.model_dump_json(): entry for entry in first}
    for entry in second:
        key = entry.dataset.model_dump_json()
        known = found[key].images if key in found else {}
        for index in known.keys() & entry.images.keys():
            if known[index] != entry.images[index]:
                raise UserError(
                    f"test image {index} of data set '{entry.dataset.name}' at {entry.dataset.resolution} pixels was "
                    f"attacked with checksums {known[index]} and {entry.images[index]}: not the same pixels"
                )
        found[key] = Victims(dataset=entry.dataset, images=dict(sorted({**known, **entry.images}.items())))
    return [found[key] for key in sorted(found)]


def check_victims(cell: Cell, dataset: ImageDataset, victims: Iterable[Victims]) -> None:
    """Raise UserError if a victim's pixels are not those that were attacked."""
    expected = next((entry.images for entry in victims if entry.dataset == cell.dataset), {})
    for index, image in zip(cell.victims, dataset.images("test", cell.victims), strict=True):
        found = _checksum(to_pil(image))
        if found != expected.get(index):
            raise UserError(
                f"test image {index} of data set '{dataset.name}' at {cell.dataset.resolution} pixels has checksum "
                f"{found}, the one that was attacked {expected.get(index)}: not the same pixels"
            )


def _checksum(picture: Image.Image) -> str:
    """First 16 hexadecimal digits of the SHA-256 of width, height and 8-bit RGB pixels, row by row."""
    size = f"{picture.width} {picture.height} ".encode()
    return hashlib.sha256(size + picture.convert("RGB").tobytes()).hexdigest()[:16]
