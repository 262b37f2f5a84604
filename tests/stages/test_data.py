import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradleak.data.base import DATASETS, DataSource
from gradleak.errors import UserError
from gradleak.stages.common import dataset_of, initial_model
from gradleak.stages.data import record_dataset
from gradleak.study.cell import Cell
from gradleak.study.checks import check_victims
from gradleak.study.config import Config

CONTENT = {
    "model": {"name": "convnet", "options": {"channels": 4, "stages": 2, "layers": 1}},
    "attack": {"name": "gia-o"},
}
MAPPED = {"classes": {"rocket": "airplane"}, "label_space": "cifar10"}


def cell_of(victim, **dataset):
    content = {"dataset": {"name": "photos10", "resolution": 16} | dataset, "victims": [victim]}
    return Cell.parse(CONTENT | content, "here")


def plan_of(tmp_path, *cells):
    config = Config(device="cpu", cache=tmp_path / "cache")
    computed = {cell.id: cell for cell in cells}
    return SimpleNamespace(study="mine", config=config, computed=computed, auxiliaries={}, reused=[])


def test_the_whole_data_set_is_recorded_whichever_classes_cells_choose(tmp_path):
    plan = plan_of(tmp_path, cell_of(49, classes=["rocket"]), cell_of(49, **MAPPED), cell_of(499))
    record_dataset(plan, "photos10", tmp_path / "data.json")
    content = json.loads((tmp_path / "data.json").read_text())
    assert (content["name"], content["train"], content["test"]) == ("photos10", 2000, 500)
    assert "chelsea" in content["classes"]


@pytest.mark.parametrize("chosen", [{"classes": ["rocket"]}, MAPPED])
def test_victims_are_checked_for_each_choice_of_classes(tmp_path, chosen):
    plan = plan_of(tmp_path, cell_of(499), cell_of(0, **chosen), cell_of(50, **chosen))
    with pytest.raises(UserError, match=r"victim index 50: .* has 50 images of its chosen classes"):
        record_dataset(plan, "photos10", tmp_path / "data.json")
    assert not (tmp_path / "data.json").exists()


def test_labels_that_are_no_class_are_found_in_the_plan_and_before_the_first_job(tmp_path):
    for name, labels in (("train", [0, 1]), ("test", [-1, -1])):
        table = pa.table({"image": [b"", b""], "label": labels})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    plan = plan_of(tmp_path, cell_of(0))
    plan.config = Config(device="cpu", data={"photos10": DataSource(source="parquet", path=tmp_path)})
    for check in (
        lambda: record_dataset(plan, "photos10", tmp_path / "data.json"),
        lambda: check_victims([cell_of(0)], plan.config),
    ):
        with pytest.raises(UserError, match="label -1 stands for none, and no row of it has a label"):
            check()


def test_what_is_not_read_is_recorded(tmp_path):
    for number in range(10):
        (tmp_path / f"c{number}").mkdir()
        Image.new("RGB", (16, 16)).save(tmp_path / f"c{number}/0.png")
    (tmp_path / "c0/0.heic").touch()
    plan = plan_of(tmp_path, cell_of(0))
    plan.config = Config(device="cpu", data={"photos10": DataSource(source="folder", path=tmp_path)})
    notes = record_dataset(plan, "photos10", tmp_path / "out/data.json")
    assert json.loads((tmp_path / "out/data.json").read_text())["notes"] == list(notes)
    assert notes[0] == "files that are not read: 1 .heic (first: c0/0.heic)"


def test_a_label_space_has_no_images_to_record(tmp_path):
    with pytest.raises(UserError, match="data set 'cifar10' is not used by study 'mine'"):
        record_dataset(plan_of(tmp_path, cell_of(0, **MAPPED)), "cifar10", tmp_path / "data.json")


def test_the_model_has_the_classes_and_normalisation_of_the_label_space(tmp_path):
    config = Config(device="cpu", cache=tmp_path)
    mapped = {"classes": {"rocket": "apple"}, "label_space": "cifar100"}
    for cell, name in [(cell_of(0, **mapped), "cifar100"), (cell_of(0, classes=["rocket"]), "photos10")]:
        model = initial_model(cell, dataset_of(cell, config))
        assert model.num_classes == DATASETS[name].num_classes
        assert model.normalise.mean.flatten().tolist() == pytest.approx(list(DATASETS[name].mean))
        assert model.normalise.std.flatten().tolist() == pytest.approx(list(DATASETS[name].std))
