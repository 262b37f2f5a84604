"""Images and tables that cannot be right: one line each, from `gradleak data show` and `gradleak metrics`."""

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from core_cases import gradleak
from PIL import Image

Make = Callable[[Path], dict[str, Any]]
"""Makes the input in a folder and returns a data source."""


def picture(number: int = 0, mode: str = "RGB") -> Image.Image:
    """A small picture of noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def folder(path: Path, *files: str) -> dict[str, Any]:
    """A folder of pictures by these names."""
    for number, name in enumerate(files):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path / name)
    return {"source": "folder", "path": str(path)}


def content(file: str, make: Callable[[Path], object]) -> Make:
    """Class folders `a` and `b` whose pictures are all replaced by what `make` writes."""

    def made(path: Path) -> dict[str, Any]:
        source = folder(path, "a/0.png", "b/0.png")
        for name in ("a", "b"):
            (path / name / "0.png").unlink()
            make(path / name / file)
        return source

    return made


def table(values: dict[str, Any], metadata: dict[bytes, bytes] | None = None, **settings: Any) -> Make:
    """A Parquet file of four pictures with these columns beside, or in place of, image and label."""

    def made(path: Path) -> dict[str, Any]:
        stream = io.BytesIO()
        picture().save(stream, format="PNG")
        image = [{"bytes": stream.getvalue(), "path": None}] * 4
        everything = {"image": image, "label": [0, 1, 0, 1], **values}
        written = pa.table(everything)
        pq.write_table(written.replace_schema_metadata(metadata), path / "train.parquet")
        return {"source": "parquet", "path": str(path), **settings}

    return made


def shards(first: list[Any], second: list[Any], names: tuple[list[str], list[str]] | None = None) -> Make:
    """Two Parquet files with these labels and class names."""

    def made(path: Path) -> dict[str, Any]:
        for number, labels in enumerate((first, second)):
            info = {} if names is None else {b"huggingface": hub({"label": {"names": names[number]}})}
            source = table({"label": labels}, info)(path)
            (path / "train.parquet").rename(path / f"train-0000{number}-of-00002.parquet")
        return source

    return made


def hub(features: object) -> bytes:
    """The hub's metadata of a table."""
    return json.dumps({"info": {"features": features}}).encode()


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 10^10 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)))


def animation(path: Path) -> None:
    """Two different pictures in one GIF."""
    picture(0).save(path, save_all=True, append_images=[picture(1)])


def tiff(values: np.ndarray) -> Callable[[Path], object]:
    """A TIFF of numbers as they are."""
    return lambda path: Image.fromarray(values).save(path)


def damaged_table(path: Path) -> dict[str, Any]:
    """A Parquet file whose end is right and whose labels are not."""
    source = table({})(path)
    data = bytearray((path / "train.parquet").read_bytes())
    data[4:-600] = bytes(len(data) - 604)
    (path / "train.parquet").write_bytes(data)
    return source


def annotated(text: str) -> Make:
    """Tiny ImageNet's layout with this text of annotations."""

    def made(path: Path) -> dict[str, Any]:
        source = folder(path, "train/a/images/0.png", "train/b/images/0.png", "val/images/0.png", "val/images/1.png")
        (path / "val/val_annotations.txt").write_text(text)
        return source

    return made


def named(name: bytes) -> Make:
    """A class folder of this name."""

    def made(path: Path) -> dict[str, Any]:
        source = folder(path, "a/0.png", "a/1.png")
        os.rename(bytes(path / "a"), bytes(path) + b"/" + name)
        return source

    return made


#: What the user brings, how it is made, and what the one line says.
INPUTS: list[tuple[str, Make, str]] = [
    ("an empty file", content("0.png", lambda path: path.touch()), "/0.png: is empty, so it cannot be read"),
    ("half a JPEG", content("0.jpg", lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")), "0.jpg: cannot be"),
    ("a bomb", content("0.png", bomb), "0.png: has more than 89 million pixels"),
    ("an animation", content("0.gif", animation), "0.gif: holds 2 pictures; save the one that is meant"),
    ("numbers to 255", content("0.tif", tiff(np.full((8, 8), 255, np.float32))), "its numbers are 255 to 255, allowed"),
    (
        "not-a-number",
        content("0.tif", tiff(np.full((8, 8), np.nan, np.float32))),
        "its numbers are nan to nan, allowed",
    ),
    (
        "32-bit integers",
        content("0.tif", tiff(np.full((8, 8), 9, np.int32))),
        "its integers have signs, so their range",
    ),
    ("a named pipe", content("0.png", os.mkfifo), "0.png: is a named pipe, must be a file"),
    ("a broken link", content("0.png", lambda path: path.symlink_to("nowhere")), "cannot be read (No such file"),
    ("a link to itself", content("0.png", lambda path: path.symlink_to("0.png")), "cannot be read (Too many levels"),
    ("PostScript", content("0.png", lambda path: picture().save(path, "EPS")), "no known format or kind of pixels"),
    ("no class folders", lambda path: folder(path, "0.png", "1.png"), "has no class subfolders; put the images"),
    ("splits without classes", lambda path: folder(path, "train/0.png", "test/0.png"), "has no class subfolders in"),
    ("domains of classes", lambda path: folder(path, "art/cat/0.png", "photo/cat/0.png"), "name as path the folder"),
    ("a name that is no text", named(b"caf\xe9"), "holds a name that is no text in UTF-8 ('caf\\udce9'); rename it"),
    ("an unknown split", lambda path: {**folder(path, "a/0.png"), "splits": {"test": "b"}}, "splits there: 'a'"),
    ("an annotation twice", annotated("0.png\ta\n1.png\tb\n0.png\tb\n"), "line 3 gives '0.png' a second class 'b'"),
    ("a lacking annotation", annotated("0.png\ta\n"), "gives no class to 1 of 2 images (first: 1.png)"),
    ("annotations of others", annotated("0.png\ta\n1.png\tb\n2.png\tb\n"), "names '2.png', which is not in"),
    (
        "annotations without classes",
        annotated("0.png\n1.png\n"),
        "line 1 is '0.png', must be a file, a tab and its class",
    ),
    (
        "labels that are missing",
        table({"label": [0.0, float("nan"), 1.0, 1.0]}),
        "holds nan in row 1, which is no class",
    ),
    ("labels of a regression", table({"label": [0.5, 0.1, 1.0, 1.0]}), "holds 0.5 in row 0, which is no class"),
    ("a row without label", table({"label": [0, 1, -1, 1]}), "label -1 stands for none, and row 2 has none"),
    ("a list of labels", table({"label": [[0], [1], [0], [1]]}), "holds lists, but an image must have one label"),
    (
        "labels in a struct",
        table({"label": [{"x": 1}] * 4}),
        "column 'label' is struct<x: int64>, allowed: whole numbers",
    ),
    ("pixels in lists", table({"image": [[1, 2]] * 4}), "must be bytes of image files or a struct with 'bytes'"),
    ("paths without bytes", table({"image": [{"bytes": None, "path": "0.png"}] * 4}), "row 0 holds no image bytes"),
    ("an unknown column", table({}, columns={"label": "y"}), "has no column 'y'; found columns: image, label"),
    ("text and numbers", shards(list("abab"), [0, 1, 0, 1]), "has the label 'a', but"),
    (
        "classes in another order",
        shards([0, 1, 0, 1], [0, 1, 0, 1], (["a", "b"], ["b", "a"])),
        "name other classes than",
    ),
    ("metadata of another shape", table({}, {b"huggingface": hub({"label": {"names": 3}})}), "are no list of text"),
    ("fewer names than labels", table({}, {b"huggingface": hub({"label": {"names": ["a"]}})}), "is 1, allowed: 0 to 0"),
    ("a damaged table", damaged_table, "train.parquet: cannot be read as Parquet"),
    ("tables of two folders", lambda path: two_tables(path), "holds several tables, in 'one', 'two'"),
    (
        "splits of other names",
        lambda path: two_tables(path, "a.parquet", "b.parquet"),
        "no split is named train or test",
    ),
]


def two_tables(path: Path, first: str = "one/train.parquet", second: str = "two/train.parquet") -> dict[str, Any]:
    """Two Parquet files under these names."""
    for name in (first, second):
        (path / name).parent.mkdir(exist_ok=True)
        source = table({})(path)
        (path / "train.parquet").rename(path / name)
    return source


@pytest.mark.parametrize(("make", "line"), [row[1:] for row in INPUTS], ids=[row[0] for row in INPUTS])
def test_a_data_set_that_cannot_be_right_is_one_line(tmp_path: Path, make: Make, line: str) -> None:
    (tmp_path / "data").mkdir()
    source = make(tmp_path / "data")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data": {"mine": source}}))
    ran = gradleak("data", "show", "mine", "--out", tmp_path / "sheet.png", "--config", config, "--split", "train")
    assert ran.code == 2, ran.err
    assert ran.err.startswith("gradleak: ")
    assert line in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not (tmp_path / "sheet.png").exists()


#: What is given to `gradleak metrics` as the reconstruction, and what the one line says.
FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a folder", Path.mkdir, "is a folder, must be a file"),
    ("a pipe", os.mkfifo, "is a named pipe, must be a file"),
    ("a device", lambda path: path.symlink_to("/dev/zero"), "is a device, must be a file"),
    ("SVG", lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "no known format"),
    ("another size", lambda path: picture().resize((4, 8)).save(path, "PNG"), "is 4x8; allowed: one size"),
    ("a bomb", bomb, "has more than 89 million pixels"),
]


@pytest.mark.parametrize(("make", "line"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_picture_that_cannot_be_compared_is_one_line(
    tmp_path: Path, cache: Path, make: Callable[[Path], object], line: str
) -> None:
    picture().save(tmp_path / "truth.png")
    make(tmp_path / "found")
    ran = gradleak("metrics", tmp_path / "truth.png", tmp_path / "found", "--cache", cache)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("gradleak: ")
    assert line in ran.err
    assert len(ran.err.strip().splitlines()) == 1
