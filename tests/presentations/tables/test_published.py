"""The published values: format, spot checks against their sources, and no invented cell."""

import pandas as pd
import pytest

from gradleak.analysis import published as resources
from gradleak.analysis.published import Published, published, published_names, source_of
from gradleak.errors import UserError

CELLS = {
    "table1": (20, 0),
    "table2": (56, 5),
    "table3": (20, 5),
    "table4": (10, 0),
    "table5": (42, 0),
    "table6": (16, 0),
    "guo_batch": (21, 0),
    "guo_fedavg": (81, 0),
    "guo_labels": (12, 0),
}


@pytest.mark.parametrize("name", sorted(CELLS))
def test_number_of_printed_and_lost_cells(name: str) -> None:
    table = published(name)
    assert (len(table), int(table["value"].isna().sum())) == CELLS[name]
    known = table["value"].dropna()
    assert known[table["metric"] != "psnr"].between(0, 1).all()
    assert known[table["metric"] == "psnr"].between(10, 25).all()  # in dB


@pytest.mark.parametrize(
    ("name", "labels", "column", "metric", "value"),
    [
        ("table1", {"dataset": "CIFAR100", "attack": "L"}, 6, "lpips", 0.1514),
        ("table2", {"dataset": "CIFAR10", "attack": "O", "attack_knowledge": "wst"}, 8, "lpips", 0.1314),
        ("table2", {"dataset": "CIFAR10", "attack": "O", "attack_knowledge": "bst"}, 1, "lpips", 0.0172),
        ("table3", {"model": "InceptionV3"}, "#4", "params_ratio", 0.0526),
        ("table4", {}, "D kernel to 1", "lpips", 0.1507),
        ("table5", {"attack": "O"}, 10, "brr", 0.3475),
        ("table5", {"attack": "L"}, 100, "wsrr", 0.0875),
        ("table6", {"model": "Swin", "dataset": "CIFAR100"}, "C", "lpips", 0.045),
        ("guo_batch", {"dataset": "CIFAR100"}, 64, "psnr", 14.99),
        ("guo_labels", {"dataset": "cifar10"}, 3, "ssim", 0.5593),
        ("guo_fedavg", {"dataset": "CIFAR100", "client_epochs": 2, "knowledge": "strong"}, 16, "lpips", 0.1138),
        ("guo_fedavg", {"dataset": "CIFAR100", "client_epochs": 5, "knowledge": "weak"}, 1, "psnr", 10.93),
    ],
)
def test_spot_checks(name: str, labels: dict, column: object, metric: str, value: float) -> None:
    assert Published(name, "heading").find({**labels, "heading": column}, metric) == value


def test_join_ignores_case_and_the_type_of_numbers() -> None:
    table = Published("table2", "n")
    labels = {"dataset": "cifar10", "attack": "o", "attack_knowledge": "WST"}
    assert table.find(labels | {"n": 4.0}, "lpips") == table.find(labels | {"n": "4"}, "lpips") == 0.1117


@pytest.mark.parametrize(
    ("dataset", "attack", "value"),
    [("CIFAR10", "O", 0.0172), ("CIFAR10", "L", 0.0669), ("CIFAR100", "O", 0.0045), ("CIFAR100", "L", 0.0436)],
)
def test_merged_cell_counts_for_both_cases(dataset: str, attack: str, value: float) -> None:
    table = Published("table2", "n")
    cases = [{"dataset": dataset, "attack": attack, "attack_knowledge": case, "n": 1} for case in ("wst", "bst")]
    assert [table.find(case, "lpips") for case in cases] == [value, value]


def test_lost_cells_are_empty() -> None:
    table = Published("table2", "n")
    row = {"dataset": "CIFAR100", "attack": "O", "attack_knowledge": "wst"}
    assert table.find(row | {"n": 3}, "lpips") == 0.0792
    for n in (2, 4, 6, 8, 10):
        assert pd.isna(table.find(row | {"n": n}, "lpips"))
    assert table.find(row | {"n": 5}, "lpips") is None


def test_unknown_name_lists_what_exists() -> None:
    with pytest.raises(UserError, match=r"table9.*known: table1, table2"):
        published("table9")
    assert published_names() == list(CELLS)  # the paper's first


def test_every_table_has_a_source() -> None:
    assert {name: source_of(name).name for name in published_names()} == {
        name: "the paper" if name.startswith("table") else "Guo et al. 2025" for name in CELLS
    }
    with pytest.raises(UserError, match="no published values 'other'; names begin with table, guo_"):
        source_of("other")


@pytest.mark.parametrize("metric", ["psnr", "ssim", "lpips"])
def test_rows_that_look_like_copying_mistakes_say_so(metric: str) -> None:
    batch, labels, local = published("guo_batch"), published("guo_labels"), published("guo_fedavg")
    one = Published("guo_batch", "b").find({"dataset": "CIFAR10", "b": 1}, metric)
    assert one == Published("guo_labels", "b").find({"dataset": "CIFAR10", "b": 0}, metric)
    marked = [
        *batch[batch["column"].eq("4")]["comment"],
        *labels[labels["column"].eq("0")]["comment"],
        *local[local["knowledge"].eq("weak") & local["client_epochs"].eq("1") & local["column"].ne("8")]["comment"],
    ]
    assert len(marked) == 3 + 3 + 6
    assert all("copying mistake" in comment for comment in marked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": ["other"]}, "column 'table'"),
        ({"value": [""]}, "missing value needs a comment"),
        ({"metric": [""]}, "empty cell"),
    ],
)
def test_a_broken_file_is_found(change: dict, message: str) -> None:
    row = {"table": ["t"], "attack": ["O"], "column": ["1"], "metric": ["lpips"], "value": ["1"], "comment": [""]}
    with pytest.raises(ValueError, match=message):
        resources._check("t", pd.DataFrame(row | change))
