"""Image files of every depth, orientation and format become the same picture, in folders, tables and `metrics`."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradleak.data.decode import decode, endings, read_image
from gradleak.data.grey import luminance
from gradleak.errors import UserError

DEEP = np.random.default_rng(0).integers(0, 65536, (6, 6), dtype=np.uint16)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **settings)
    return stream.getvalue()


def exact(path: Path, content: bytes) -> torch.Tensor:
    path.write_bytes(content)
    return read_image(path)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_grey_of_16_bits_is_scaled_by_its_depth(tmp_path, kind):
    content = encoded(Image.fromarray(DEEP), kind)
    right = torch.from_numpy(DEEP / 65535).float().expand(3, -1, -1)
    assert torch.equal(exact(tmp_path / "x", content), right)
    assert torch.equal(decode(content, 6, "x"), (right * 255).round() / 255)


@pytest.mark.parametrize("order", "<>")
def test_tiff_whose_zero_is_white_is_turned(tmp_path, order):
    tifffile = pytest.importorskip("tifffile")
    for values, scale in ((DEEP, 65535), (DEEP / np.float32(65535), 1), (COLOUR[:, :, 0], 255)):
        if values.dtype == np.uint16 and order == ">":
            continue  # Pillow does not know it: one line
        tifffile.imwrite(tmp_path / "x.tif", values, photometric="miniswhite", byteorder=order)
        found = read_image(tmp_path / "x.tif")
        assert torch.allclose(found[0], torch.from_numpy(1 - values.astype(np.float64) / scale).float(), atol=1e-6)


def test_numbers_from_0_to_1_are_taken_as_they_are(tmp_path):
    values = (DEEP / 65535).astype(np.float32)
    content = encoded(Image.fromarray(values), "TIFF")
    assert torch.equal(exact(tmp_path / "x", content)[1], torch.from_numpy(values))


@pytest.mark.parametrize("kind", ["uint32", "int32", "int16", "int8", "float64"])
def test_numbers_of_unknown_range_are_refused(tmp_path, kind):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "x.tif", DEEP.astype(kind), photometric="minisblack")
    with pytest.raises(UserError, match=r"x\.tif: cannot be read as an image \((its integers have|no known)"):
        read_image(tmp_path / "x.tif")


def test_colour_of_16_bits_keeps_its_upper_8(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    colour = np.random.default_rng(2).integers(0, 65536, (6, 6, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", colour, photometric="rgb")
    right = torch.from_numpy(colour / 65535).float().permute(2, 0, 1)
    assert (read_image(tmp_path / "x.tif") - right).abs().max() < 1 / 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_other_modes_become_colour(mode):
    image = Image.fromarray(COLOUR).convert(mode)
    found = decode(encoded(image, "TIFF"), 6, "x")
    right = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 255
    assert torch.equal(found, right)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_upright(tmp_path, kind, orientation):
    turned = Image.fromarray(COLOUR[:4])
    for step in {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}.get(orientation, []):
        turned = turned.transpose(Image.Transpose(step))
    exif = Image.Exif()
    exif[274] = orientation
    extra = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(turned, kind, exif=exif, **extra)
    right = torch.from_numpy(COLOUR[:4]).permute(2, 0, 1) / 255
    assert torch.equal(exact(tmp_path / "x", content), right)
    assert torch.equal(decode(content, 4, "x"), right[:, :, 1:5])


def test_what_is_read_has_the_usual_endings():
    assert {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".webp"} <= {*endings()}
    assert not {".eps", ".pdf", ".svg", ".h5"} & {*endings()}


def test_damaged_files_are_one_line():
    random = np.random.default_rng(0)
    files = [encoded(Image.fromarray(COLOUR), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")]
    for number in range(200):
        content = bytearray(files[number % len(files)])
        for place in random.integers(0, len(content), 6):
            content[place] = random.integers(0, 256)
        assert said(bytes(content[: random.integers(1, len(content) + 1)])) in (None, 1)


def said(content: bytes) -> int | None:
    """How many lines are said of a file with its name, or None if it can be read."""
    try:
        decode(content, 6, "x.png")
    except UserError as error:
        return len(str(error).splitlines()) if str(error).startswith("x.png: ") else 0
    return None


def test_luminance_is_that_of_pillow():
    colour = torch.from_numpy(COLOUR).permute(2, 0, 1)[None] / 255
    right = torch.from_numpy(np.array(Image.fromarray(COLOUR).convert("L"))) / 255
    assert torch.equal(luminance(colour)[0, 0], right)
    grey = right.expand(1, 3, -1, -1)
    assert torch.equal(luminance(grey), grey[:, :1])
