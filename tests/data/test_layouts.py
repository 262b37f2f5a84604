"""Layouts of folders and of the hub's Parquet files: read as they are, and what is not read is said."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_folder import save
from test_parquet import opened as opened_table
from test_parquet import pixels, png, write

from gradleak.data.base import DataSource
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError


def opened(path: Path, kind: str = "folder", **settings):
    return open_dataset("mine", 8, {"mine": DataSource(source=kind, path=path, **settings)})


def fill(path: Path, *names: str) -> None:
    for number, name in enumerate(names):
        save(path / name, number)


def both(dataset) -> dict[str, list[int]]:
    return {split: dataset.labels(split, range(dataset.size(split))).tolist() for split in ("train", "test")}


def test_tiny_imagenet(tmp_path):
    fill(tmp_path, *(f"train/{name}/images/{name}_{i}.JPEG" for name in ("n2", "n1") for i in range(3)))
    fill(tmp_path, *(f"val/images/val_{i}.JPEG" for i in range(4)), *(f"test/images/test_{i}.JPEG" for i in range(2)))
    (tmp_path / "train/n1/n1_boxes.txt").write_text("n1_0.JPEG\t0\t0\t1\t1\n")
    (tmp_path / "wnids.txt").write_text("n1\nn2\n")
    lines = [f"val_{i}.JPEG\tn{1 + i % 2}\t0\t0\t62\t62\n" for i in range(4)]
    (tmp_path / "val/val_annotations.txt").write_text("".join(lines))
    dataset = opened(tmp_path)
    assert dataset.class_names == ("n1", "n2")
    assert both(dataset) == {"train": [0, 0, 0, 1, 1, 1], "test": [0, 0, 1, 1]}
    assert dataset.notes == (
        "folders that are not read, beside 'train', 'val': 'test'",
        "files that are not read: 1 .txt (first: train/n1/n1_boxes.txt)",
    )


def test_what_is_not_read_is_counted(tmp_path):
    fill(tmp_path, *(f"{name}/{i}.png" for name in ("a", "b") for i in range(5)), ".hidden/0.png", "__MACOSX/a/0.png")
    for name in ("a/x.heic", "a/y.heic", "b/notes.txt", "b/.DS_Store", "a/Thumbs.db"):
        (tmp_path / name).write_text("x")
    save(tmp_path / "loose.png", 0)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    dataset = opened(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert dataset.size("train") + dataset.size("test") == 10
    assert dataset.notes == (
        "files that are not read: 2 .heic, 1 .png, 1 .txt, 1 again (first: a/x.heic)",
        "has one split only; 2 of its 10 images are taken as test, by a fixed rule",
    )


def test_classes_that_a_split_lacks_are_named(tmp_path):
    fill(tmp_path, "train/a/0.png", "train/b/0.png", "test/a/0.png", "test/c/0.png")
    (tmp_path / "train/d").mkdir()
    dataset = opened(tmp_path)
    assert dataset.class_names == ("a", "b", "c", "d")
    assert both(dataset) == {"train": [0, 1], "test": [0, 2]}
    assert dataset.notes == ("train has no image of 'c', 'd'", "test has no image of 'b', 'd'")


def test_a_class_may_be_called_as_a_split(tmp_path):
    fill(tmp_path, *(f"{name}/{i}.png" for name in ("bus", "car", "train") for i in range(2)))
    assert opened(tmp_path).class_names == ("bus", "car", "train")


def test_every_ending_is_read(tmp_path):
    for ending in ("tif", "TIFF", "gif", "ppm", "bmp", "webp", "jfif"):
        save(tmp_path / "a" / f"0.{ending}" if ending != "jfif" else tmp_path / "a" / "1.jpg", 0)
    dataset = opened(tmp_path)
    assert dataset.size("train") + dataset.size("test") == 7
    assert dataset.images("train", range(dataset.size("train"))).shape[1:] == (3, 8, 8)


def test_splits_are_chosen(tmp_path):
    fill(tmp_path, *(f"{split}/a/{i}.png" for split in ("train", "test", "holdout") for i in range(5)))
    dataset = opened(tmp_path, splits={"test": "holdout"})
    assert dataset.notes == ("folders that are not read, beside 'train', 'holdout': 'test'",)
    whole = opened(tmp_path, splits={"train": "holdout", "test": "holdout"})
    assert (whole.size("train"), whole.size("test")) == (4, 1)
    with pytest.raises(UserError, match=r"splits\.train is 'x'; splits there: 'holdout', 'test', 'train'"):
        opened(tmp_path, splits={"train": "x"})


@pytest.mark.parametrize(
    "names",
    [
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("data/train-00000-of-00001-a09b74b3ef9c3b56.parquet", "data/validation-00000-of-00001-0af.parquet"),
        ("train-00000.parquet", "val-00000.parquet"),
        ("plain_text/mine-train.parquet", "plain_text/mine-test.parquet"),
        ("train/0000.parquet", "valid/0000.parquet"),
        ("Train.parquet", "TEST.parquet"),
    ],
)
def test_the_hubs_layouts(tmp_path, names):
    for name, numbers in zip(names, (range(3), range(3, 5)), strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, numbers, [number % 2 for number in numbers])
    dataset = opened_table(tmp_path)
    assert both(dataset) == {"train": [0, 1, 0], "test": [1, 0]}
    assert dataset.notes == ()


def test_val_is_not_read_where_there_is_a_test(tmp_path):
    for name in ("train", "val", "test"):
        write(tmp_path / f"{name}.parquet", range(3), [0, 1, 0])
    assert opened_table(tmp_path).notes == ("splits that are not read: 'val'",)


def test_an_unlabelled_split_is_one_line_and_another_can_be_chosen(tmp_path):
    write(tmp_path / "train.parquet", range(4), [0, 1, 2, 0])
    write(tmp_path / "test.parquet", range(4), [-1] * 4)
    write(tmp_path / "validation.parquet", range(2), [2, 1])
    with pytest.raises(
        UserError, match=r"test\.parquet: label -1 stands for none, and no row of it has a label; choose"
    ):
        opened_table(tmp_path).labels("test", [0])
    dataset = opened(tmp_path, "parquet", splits={"test": "validation"})
    assert dataset.class_names == ("0", "1", "2")
    assert both(dataset) == {"train": [0, 1, 2, 0], "test": [2, 1]}


def test_columns_are_chosen(tmp_path):
    labels = {"coarse": [0, 1, 1], "fine": ["x", "y", "z"], "ratio": [1.0, 0.0, 2.0]}
    pq.write_table(pa.table({"picture": [png(pixels(i)) for i in range(3)], **labels}), tmp_path / "train.parquet")
    for column, names in (("coarse", ("0", "1")), ("fine", ("x", "y", "z")), ("ratio", ("0", "1", "2"))):
        dataset = opened(tmp_path, "parquet", columns={"image": "picture", "label": column})
        assert dataset.class_names == names
        assert dataset.images("train", [0, 1]).shape == (2, 3, 8, 8)


def test_settings_that_a_source_does_not_have_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.mine\.columns: source is 'folder', only 'parquet' has columns"):
        opened(tmp_path, columns={"label": "y"})
    source = DataSource(source="embedded", splits={"test": "train"})
    with pytest.raises(UserError, match=r"data\.photos10\.splits: source is 'embedded', which has its own"):
        open_dataset("photos10", 8, {"photos10": source})
