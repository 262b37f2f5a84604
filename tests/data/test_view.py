import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from gradleak.data.base import DATASETS, DataSource
from gradleak.data.opening import chosen_labels, open_dataset, open_view
from gradleak.errors import UserError
from gradleak.specs import DatasetSpec


def view_of(sources=None, **content):
    return open_view(DatasetSpec.model_validate({"resolution": 16} | content), sources or {})


def parquet(path, labels, names=None, label="label"):
    """A source with the same images as train and test; image i has grey value i."""
    images = []
    for number in range(len(labels)):
        stream = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(stream, format="PNG")
        images.append({"bytes": stream.getvalue(), "path": None})
    table = pa.table({"image": images, label: labels})
    if names:
        info = {"info": {"features": {label: {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.mkdir()
    for split in ("train", "test"):
        pq.write_table(table, path / f"{split}.parquet")
    return DataSource(source="parquet", path=path)


def greys(dataset, split="test"):
    images = dataset.images(split, range(dataset.size(split)))
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def test_without_classes_it_is_the_data_set_itself():
    view = view_of(name="photos10")
    assert type(view) is type(open_dataset("photos10", 16, {}))
    assert view.size("test") == 500


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_view_holds_the_images_of_its_classes_in_their_order(split):
    whole, view = open_dataset("photos10", 16, {}), view_of(name="photos10", classes=["rocket", "chelsea"])
    rows = [index for index in range(whole.size(split)) if index % 10 in (1, 3)]
    assert view.size(split) == len(rows) == whole.size(split) // 5
    some = [0, 1, 5, 2, len(rows) - 1]
    assert torch.equal(view.images(split, some), whole.images(split, [rows[index] for index in some]))
    assert view.labels(split, some).tolist() == [rows[index] % 10 for index in some] == [1, 3, 3, 1, 3]


def test_a_list_of_classes_leaves_the_labels_and_the_normalisation():
    whole, view = open_dataset("photos10", 16, {}), view_of(name="photos10", classes=["rocket"])
    assert view.num_classes == 10
    for name in ("name", "resolution", "class_names", "mean", "std"):
        assert getattr(view, name) == getattr(whole, name)
    assert view.fingerprint() == whole.fingerprint()


def test_a_label_space_gives_labels_classes_and_normalisation_without_any_file(tmp_path):
    # No file of CIFAR-10 is in the cache folder.
    spec = DatasetSpec(
        name="photos10", resolution=16, classes={"chelsea": "cat", "rocket": "airplane"}, label_space="cifar10"
    )
    view = open_view(spec, {}, tmp_path)
    whole, cifar10 = open_dataset("photos10", 16, {}), DATASETS["cifar10"]
    assert (view.class_names, view.mean, view.std) == (cifar10.class_names(), cifar10.mean, cifar10.std)
    assert view.name == "photos10"
    assert view.labels("test", range(4)).tolist() == [3, 0, 3, 0]
    assert torch.equal(view.images("test", range(4)), whole.images("test", [1, 3, 11, 13]))
    assert list(tmp_path.iterdir()) == []


def test_a_label_space_need_not_be_registered_and_classes_may_share_a_target(tmp_path):
    sources = {"mine": parquet(tmp_path / "mine", [0, 1, 2], names=["owl", "ape", "cow"])}
    mapping = {"chelsea": "cow", "rocket": "cow", "coffee": "ape"}
    view = view_of(sources, name="photos10", classes=mapping, label_space="mine")
    assert view.class_names == ("owl", "ape", "cow")
    assert view.mean == (0.5, 0.5, 0.5)
    assert view.labels("test", range(6)).tolist() == [2, 1, 2] * 2


def test_the_fingerprint_follows_the_mapping_and_the_whole(tmp_path):
    def mapped(**mapping):
        return view_of(name="photos10", classes=mapping, label_space="cifar10").fingerprint()

    prints = [
        mapped(chelsea="cat"),
        mapped(chelsea="dog"),
        mapped(rocket="cat"),
        view_of(name="photos10").fingerprint(),
    ]
    assert len(set(prints)) == 4
    assert mapped(chelsea="cat") == prints[0]
    other = view_of(name="photos10", classes={"chelsea": "apple"}, label_space="cifar100")
    assert other.fingerprint() not in prints


def test_selecting_decodes_nothing_and_reads_labels_once(tmp_path, monkeypatch):
    source = parquet(tmp_path / "mine", [0, 1, 0, 1], names=["owl", "ape"])
    view = view_of({"mine": source}, name="mine", classes=["ape"])
    asked = []
    labels = type(view.whole).labels

    def counted(dataset, split, indices):
        asked.append((split, len(list(indices))))
        return labels(dataset, split, indices)

    monkeypatch.setattr(type(view.whole), "labels", counted)
    monkeypatch.setattr(type(view.whole), "_images", lambda *_: pytest.fail("decoded an image"))
    assert [view.size("test"), view.size("test"), view.size("train")] == [2, 2, 2]
    assert asked == [("test", 4), ("train", 4)]


def test_an_index_beyond_the_view_is_refused():
    view = view_of(name="photos10", classes=["rocket"])
    assert view.images("test", [49]).shape == (1, 3, 16, 16)
    for index in (50, -1):
        with pytest.raises(UserError, match=rf"index {index} is outside split 'test' of 50 images"):
            view.images("test", [index])


def test_a_class_without_images_gives_an_empty_split(tmp_path):
    source = parquet(tmp_path / "mine", [0, 0], names=["owl", "ape"])
    assert view_of({"mine": source}, name="mine", classes=["ape"]).size("test") == 0


def test_a_name_that_two_classes_share_selects_both_but_is_no_target(tmp_path):
    source = parquet(tmp_path / "mine", [0, 1, 2, 2, 1], names=["crane", "owl", "crane"])
    view = view_of({"mine": source}, name="mine", classes=["crane"])
    assert greys(view) == [0, 2, 3]
    assert view.labels("test", range(3)).tolist() == [0, 2, 2]
    both = view_of({"mine": source}, name="mine", classes={"crane": "bird"}, label_space="cifar10")
    assert both.labels("test", range(3)).tolist() == [2, 2, 2]
    with pytest.raises(UserError, match=r"'crane' names 2 classes of label space 'mine'; a target must name one"):
        view_of({"mine": source}, name="photos10", classes={"rocket": "crane"}, label_space="mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"name": "photos10", "classes": ["rocket", "rockett"]},
            r"^dataset.classes: data set 'photos10' has no class 'rockett'; known: astronaut, .*, flower$",
        ),
        (
            {"name": "photos10", "classes": {"rocket": "plane"}, "label_space": "cifar10"},
            r"data set 'cifar10' has no class 'plane'; known: airplane, .*, truck$",
        ),
        (
            {"name": "photos10", "classes": {"plane": "airplane"}, "label_space": "cifar10"},
            r"data set 'photos10' has no class 'plane'; known: astronaut",
        ),
        ({"name": "cifar100", "classes": ["cat"]}, r"known: apple, (\w+, ){19}\.\.\.$"),
        ({"name": "photos10", "classes": {"rocket": "x"}, "label_space": "nosuch"}, r"unknown data set 'nosuch'"),
    ],
)
def test_an_unknown_class_is_named_with_what_exists(content, message):
    # CIFAR-100 is not downloaded here, yet its classes are checked.
    with pytest.raises(UserError, match=message) as caught:
        view_of(**content)
    assert "\n" not in str(caught.value)


def test_names_are_exact_and_may_hold_commas(tmp_path):
    source = parquet(tmp_path / "mine", [0, 1], names=["tench, Tinca tinca", "goldfish"])
    assert greys(view_of({"mine": source}, name="mine", classes=["tench, Tinca tinca"])) == [0]
    with pytest.raises(UserError, match="has no class 'tench'"):
        view_of({"mine": source}, name="mine", classes=["tench"])


def test_all_labels_are_chosen_where_no_class_is():
    assert chosen_labels(DatasetSpec(name="cifar10"), {}) == {label: label for label in range(10)}


def test_fetching_a_view_fetches_the_whole(monkeypatch):
    view = view_of(name="photos10", classes=["rocket"])
    fetched = []
    monkeypatch.setattr(type(view.whole), "fetch", lambda dataset: fetched.append(dataset))
    view.fetch()
    assert fetched == [view.whole]


def grouped(labels, tmp_path, **groups):
    source = parquet(tmp_path / "mine", labels, names=["owl", "ape", "cow", "eel"])
    return view_of({"mine": source}, name="mine", labels=groups)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        # 0 1 2 3 4 5 6 7 8 9 are images of the classes 0 0 1 0 2 3 1 1 0 2
        ({"every": 3, "alike": 1}, [0, 2, 4, 1, 5, 6, 3, 7, 9]),
        ({"every": 3, "alike": 2}, [0, 1, 2, 3, 4, 8, 5, 6, 7]),
        ({"every": 3, "alike": 3}, [0, 1, 3, 2, 6, 7]),
        ({"every": 4, "alike": 1}, [0, 2, 4, 5]),
        ({"every": 4, "alike": 2}, [0, 1, 2, 4, 3, 5, 6, 8]),
        ({"every": 4, "alike": 4}, [0, 1, 3, 8]),
    ],
)
def test_groups_have_so_many_images_of_one_class_and_each_image_once(tmp_path, groups, expected):
    classes = [0, 0, 1, 0, 2, 3, 1, 1, 0, 2]
    view = grouped(classes, tmp_path, **groups)
    assert greys(view) == expected
    assert view.labels("test", range(len(expected))).tolist() == [classes[row] for row in expected]
    assert len(set(expected)) == len(expected)
    for start in range(0, len(expected), groups["every"]):
        group = [classes[row] for row in expected[start : start + groups["every"]]]
        most = max(map(group.count, group))
        assert (most, len(set(group))) == (groups["alike"], groups["every"] - groups["alike"] + 1)


def test_groups_of_chosen_classes_at_any_resolution_in_grey(tmp_path):
    small = view_of(name="photos10", classes=["rocket", "chelsea"], labels={"every": 2})
    assert small.labels("test", range(4)).tolist() == [1, 3, 1, 3]
    spec = DatasetSpec(name="photos10", resolution=32, classes=("rocket", "chelsea"), labels={"every": 2})
    large = open_view(spec, {}, channels=1)
    assert large.images("test", [0]).shape == (1, 1, 32, 32)
    assert large.rows("test") == small.rows("test")
    assert small.fingerprint() == open_dataset("photos10", 16, {}).fingerprint()


def test_no_more_groups_than_there_are(tmp_path):
    view = grouped([0, 0, 1, 1, 2], tmp_path, every=3, alike=2)
    assert view.size("test") == 3
    with pytest.raises(UserError, match=r"index 3 is outside split 'test' of 3 images"):
        view.images("test", [3])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"every": 6}, r"^dataset.labels: 6 images of which 1 have one class need 6 classes, data set 'mine' has 4$"),
        ({"every": 6, "alike": 2}, r"need 5 classes, data set 'mine' has 4$"),
    ],
)
def test_groups_of_more_classes_than_there_are_are_refused(tmp_path, groups, message):
    with pytest.raises(UserError, match=message):
        grouped([0, 1], tmp_path, **groups)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"every": 4, "alike": 5}, r"alike is 5, but a group has only 4 images"),
        ({"every": 1}, "greater than or equal to 2"),
        ({"every": 4, "alike": 0}, "greater than or equal to 1"),
        ({"alike": 2}, "Field required"),
        ({"every": 4, "equal": 2}, "Extra inputs"),
    ],
)
def test_wrong_groups_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        DatasetSpec(name="photos10", labels=groups)


def test_a_data_set_without_groups_is_dumped_as_before():
    assert set(DatasetSpec(name="photos10").model_dump()) == {"name", "resolution", "classes", "label_space"}
    assert DatasetSpec(name="photos10", labels={"every": 4}).model_dump()["labels"] == {"every": 4, "alike": 1}
