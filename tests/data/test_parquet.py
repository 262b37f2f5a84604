import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from gradleak.data.base import DataSource
from gradleak.data.opening import open_dataset
from gradleak.errors import UserError


def pixels(number, width=8, height=8):
    generator = np.random.default_rng(number)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def write(path, numbers, labels, column="img", label="label", names=None, size=(8, 8)):
    images = [{"bytes": png(pixels(number, *size)), "path": None} for number in numbers]
    table = pa.table({column: images, label: labels})
    if names:
        info = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path, row_group_size=3)


def opened(path, name="mine", resolution=8):
    return open_dataset(name, resolution, {name: DataSource(source="parquet", path=path)})


def expected(number):
    return torch.from_numpy(pixels(number)).permute(2, 0, 1).float() / 255


def test_shards_and_row_groups_keep_order_and_pixels(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", range(7), [0, 1, 2, 3, 4, 5, 6])
    write(tmp_path / "train-00001-of-00002.parquet", range(7, 12), [7, 8, 9, 0, 1])
    write(tmp_path / "test.parquet", range(20, 24), [3, 2, 1, 0])
    dataset = opened(tmp_path, "cifar10")
    assert (dataset.size("train"), dataset.size("test")) == (12, 4)
    order = [11, 0, 6, 7, 3, 3]
    images = dataset.images("train", order)
    assert torch.equal(images, torch.stack([expected(number) for number in order]))
    assert dataset.labels("train", order).tolist() == [1, 0, 6, 7, 3, 3]
    assert torch.equal(dataset.images("test", [2])[0], expected(22))
    assert dataset.class_names[0] == "airplane"
    assert dataset.mean == (0.4914, 0.4822, 0.4465)


def test_size_decodes_nothing(tmp_path):
    rows = {"img": [{"bytes": b"no image", "path": ""}] * 3, "label": [0, 1, 2]}
    for split in ("train", "test"):
        pq.write_table(pa.table(rows), tmp_path / f"{split}.parquet")
    dataset = opened(tmp_path, "cifar10")
    assert dataset.size("test") == 3
    assert dataset.labels("test", [2]).tolist() == [2]
    with pytest.raises(UserError, match=r"test\.parquet: row 1: cannot be read as an image"):
        dataset.images("test", [1])


def test_validation_serves_as_test_unless_there_is_a_test(tmp_path):
    write(tmp_path / "train.parquet", range(4), [0] * 4)
    write(tmp_path / "validation.parquet", range(4, 6), [0] * 2)
    assert opened(tmp_path).size("test") == 2
    write(tmp_path / "test.parquet", range(6, 9), [0] * 3)
    assert opened(tmp_path).size("test") == 3


def test_single_split_is_divided_disjointly_and_the_same_way_always(tmp_path):
    write(tmp_path / "train.parquet", range(50), [number // 10 for number in range(50)])
    dataset = opened(tmp_path)
    assert (dataset.size("train"), dataset.size("test")) == (40, 10)
    seen = {split: dataset.images(split, range(dataset.size(split))) for split in ("train", "test")}
    unique = torch.cat([seen["train"], seen["test"]]).flatten(1).unique(dim=0)
    assert len(unique) == 50
    # Sorted by class in the file, mixed in the split.
    assert len(set(dataset.labels("test", range(10)).tolist())) > 2
    for split in ("train", "test"):
        for index, label in enumerate(dataset.labels(split, range(10)).tolist()):
            number = next(n for n in range(50) if torch.equal(expected(n), seen[split][index]))
            assert number // 10 == label
    assert torch.equal(opened(tmp_path / "train.parquet").images("test", range(10)), seen["test"])


def test_classes_from_hub_metadata(tmp_path):
    write(tmp_path / "train.parquet", range(5), [1, 0, 2, 1, 1], column="image", names=["owl", "ape", "cow"])
    dataset = opened(tmp_path)
    assert dataset.class_names == ("owl", "ape", "cow")
    assert dataset.mean == dataset.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[30, 10, 20, 10], ["c", "a", "b", "a"]])
def test_classes_from_distinct_labels(tmp_path, values):
    write(tmp_path / "train.parquet", range(4), values, label="fine_label")
    write(tmp_path / "test.parquet", range(4), values[:2] * 2, label="fine_label")
    dataset = opened(tmp_path)
    assert dataset.class_names == tuple(str(value) for value in sorted(set(values)))
    assert dataset.labels("train", range(4)).tolist() == [2, 0, 1, 0]


def test_resize_short_side_then_centre_crop(tmp_path):
    write(tmp_path / "train.parquet", range(4), [0] * 4, size=(24, 12))
    images = opened(tmp_path, resolution=6).images("train", [0])
    assert images.shape == (1, 3, 6, 6)
    with Image.open(io.BytesIO(pq.read_table(tmp_path / "train.parquet")["img"][0].as_py()["bytes"])) as image:
        whole = np.array(image.resize((12, 6), Image.Resampling.BICUBIC))[:, 3:9]
    all_images = opened(tmp_path, resolution=6).images("train", range(3))
    reference = torch.from_numpy(whole).permute(2, 0, 1).float() / 255
    splits = [*all_images, *opened(tmp_path, resolution=6).images("test", [0])]
    assert any(torch.equal(reference, image) for image in splits)


def test_label_beyond_the_registered_classes(tmp_path):
    write(tmp_path / "train.parquet", range(4), [0, 1, 10, 3])
    write(tmp_path / "test.parquet", range(4), [0] * 4)
    with pytest.raises(UserError, match="label of train image 2 is 10, allowed: 0 to 9"):
        opened(tmp_path, "cifar10").labels("train", range(4))


def test_text_labels_for_a_registered_name(tmp_path):
    write(tmp_path / "train.parquet", range(4), ["cat"] * 4)
    with pytest.raises(UserError, match="column 'label' holds 'cat', allowed: class numbers"):
        opened(tmp_path, "cifar10").labels("train", [0])


def test_errors_name_file_and_columns(tmp_path):
    with pytest.raises(UserError, match=r"holds no train\*\.parquet"):
        opened(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"train\.parquet: cannot be read as Parquet"):
        opened(tmp_path).size("train")
    pq.write_table(pa.table({"picture": [1, 2], "y": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"needs a column 'img' or 'image' .* found columns: picture, y"):
        opened(tmp_path).images("train", [0])
    with pytest.raises(UserError, match="needs a column 'label' or 'fine_label'; found columns: picture, y"):
        opened(tmp_path).labels("train", [0])
    pq.write_table(pa.table({"label": [0, None, 1]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match="column 'label' is empty in row 1"):
        opened(tmp_path).labels("train", [0])


def test_fingerprint_follows_the_content(tmp_path):
    write(tmp_path / "train.parquet", range(4), [0] * 4)
    before = opened(tmp_path).fingerprint()
    assert before == opened(tmp_path, resolution=16).fingerprint()
    write(tmp_path / "train.parquet", range(1, 5), [0] * 4)
    assert opened(tmp_path).fingerprint() != before


DOMAINS = ["photo", "sketch", "art", "sketch", "photo", "sketch", "sketch", "photo"]


def domains(path, number=lambda row: row, split="train", **columns):
    images = [{"bytes": png(pixels(number(row))), "path": None} for row in range(8)]
    content = {"image": images, "domain": DOMAINS, "label": [row % 3 for row in range(8)]} | columns
    pq.write_table(pa.table(content), path / f"{split}.parquet", row_group_size=3)


def filtered(path, name="mine", **filter):
    return open_dataset(name, 8, {name: DataSource(source="parquet", path=path, filter=filter)})


def numbers(dataset, split):
    images = dataset.images(split, range(dataset.size(split)))
    return [next(n for n in range(20) if torch.equal(expected(n), image)) for image in images]


def test_a_filter_keeps_the_rows_with_its_value_in_their_order(tmp_path):
    domains(tmp_path)
    domains(tmp_path, lambda row: row + 10, "test")
    dataset = filtered(tmp_path, domain="sketch")
    assert numbers(dataset, "train") == [1, 3, 5, 6]
    assert numbers(dataset, "test") == [11, 13, 15, 16]
    assert dataset.labels("train", range(4)).tolist() == [1, 0, 2, 0]
    with pytest.raises(UserError, match="index 4 is outside split 'train' of 4 images"):
        dataset.labels("train", [4])


def test_a_filter_comes_before_the_division_into_splits(tmp_path):
    domains(tmp_path)
    dataset = filtered(tmp_path, domain="sketch")
    assert (dataset.size("train"), dataset.size("test")) == (3, 1)
    assert sorted(numbers(dataset, "train") + numbers(dataset, "test")) == [1, 3, 5, 6]
    assert dataset.labels("test", [0]).tolist() == [n % 3 for n in numbers(dataset, "test")]


def test_filters_over_several_columns_and_shards_hold_together(tmp_path):
    domains(tmp_path, split="train-0", year=[2000, 2001, None, 2001] * 2)
    domains(tmp_path, lambda row: row + 10, "train-1", year=[2001] * 8)
    domains(tmp_path, split="test", year=[2001] * 8)
    assert numbers(filtered(tmp_path, domain="sketch", year="2001"), "train") == [1, 3, 5, 11, 13, 15, 16]
    with pytest.raises(UserError, match=r"{domain: art, year: None} selects no row"):
        filtered(tmp_path, domain="art", year="None")


def test_classes_do_not_depend_on_the_filter(tmp_path):
    # No image of `art` has label 0 or 1.
    domains(tmp_path, split="train")
    domains(tmp_path, split="test")
    dataset = filtered(tmp_path, domain="art")
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.labels("train", [0]).tolist() == [2]


def test_the_fingerprint_includes_the_filter(tmp_path):
    domains(tmp_path)
    prints = [filtered(tmp_path, **filter).fingerprint() for filter in ({}, {"domain": "art"}, {"domain": "photo"})]
    assert len(set(prints)) == 3
    assert prints[0] == opened(tmp_path).fingerprint()


def test_mistakes_in_a_filter_are_named(tmp_path):
    domains(tmp_path)
    with pytest.raises(UserError, match=r"filter names column 'domian'; columns to filter by: domain, label$"):
        filtered(tmp_path, domian="sketch")
    with pytest.raises(UserError, match=r"filter names column 'image'; columns to filter by: domain, label$"):
        filtered(tmp_path, image="x")
    with pytest.raises(
        UserError,
        match=r"^data\.mine\.filter: {domain: sktch} selects no row of '.*'; 'domain' has art, photo, sketch$",
    ):
        filtered(tmp_path, domain="sktch")
    for name, source in [("mine", "folder"), ("photos10", "embedded")]:
        with pytest.raises(UserError, match=rf"data\.{name}\.filter: source is '{source}', only 'parquet'"):
            open_dataset(name, 8, {name: DataSource(source=source, path=tmp_path, filter={"domain": "art"})})


def test_an_unreadable_image_is_named_by_its_row_in_the_file(tmp_path):
    domains(tmp_path, image=[{"bytes": b"no image", "path": None}] * 8)
    domains(tmp_path, split="test")
    with pytest.raises(UserError, match=r"train\.parquet: row 5: cannot be read as an image"):
        filtered(tmp_path, domain="sketch").images("train", [2])
