"""The contrast kind: which images are compared with which, CSV, LaTeX and errors."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from test_table import check_structure

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.statistics import compare_groups, compare_pairs
from gradleak.errors import UserError
from gradleak.presentations.contrast import ContrastTable
from gradleak.presentations.read import parse_experiment
from gradleak.presentations.write import render_stage, stage_files

BETWEEN = {"label": "domain", "baseline": "ID", "against": "OOD"}
CONTRAST = {"kind": "contrast", "rows": ["attack"], "between": BETWEEN, "pair_by": ["pair"]}
PAIRS = 8
Make = Callable[..., Experiment]


def make_cells() -> list[dict]:
    """Two attacks, two domains, eight pairs of images; the image of a pair in domain OOD is 100 more."""
    return [
        {"cell_id": f"{attack}-{domain}-{pair}", "labels": {"attack": attack, "domain": domain, "pair": pair}}
        for attack in "OL"
        for domain in ("ID", "OOD")
        for pair in range(PAIRS)
    ]


def lpips(attack: str, domain: str, pair: int) -> float:
    """Pairs differ a lot; OOD is a little worse, for L."""
    return 0.1 * pair + (0.02 + 0.001 * pair if (attack, domain) == ("L", "OOD") else 0.0)


@pytest.fixture
def data() -> StudyData:
    rows = []
    for cell in make_cells():
        labels = cell["labels"]
        value = lpips(**labels)
        key = {"cell_id": cell["cell_id"], "image": labels["pair"] + 100 * (labels["domain"] == "OOD")}
        key |= {"dataset_name": "photos10", "dataset_resolution": 32, "detail": 0.01 * labels["pair"]}
        rows.append(key | {"restart": 0, "chosen": True, "lpips": value, "ssim": 1 - value, "hf_detail": value + 0.1})
        rows.append(key | {"restart": 1, "chosen": False, "lpips": 9.0, "ssim": 9.0, "hf_detail": 9.0})
    return StudyData("s", pd.DataFrame(rows))


@pytest.fixture
def make_experiment() -> Make:
    def make(*show: dict, cells: list[dict] | None = None) -> Experiment:
        content = {"title": "A title", "show": list(show), "cells": cells or make_cells()}
        return parse_experiment("exp", content, "plan.json")

    return make


def found(content: dict, experiment: Experiment, data: StudyData) -> list:
    return ContrastTable.model_validate(content).contrasts(experiment, data)


def test_pairs(make_experiment: Make, data: StudyData) -> None:
    first, second = found(CONTRAST, make_experiment(), data)
    assert (first.row, first.baseline, first.against, first.metric) == (("O",), "ID", "OOD", "lpips")
    values = [[lpips("L", domain, pair) for pair in range(PAIRS)] for domain in ("ID", "OOD")]
    assert second.result == compare_pairs(*values)
    assert (first.result.sign, second.result.sign) == ("undecided", "higher")


def test_without_pairs_the_spread_of_images_hides_the_difference(make_experiment: Make, data: StudyData) -> None:
    result = found({**CONTRAST, "pair_by": []}, make_experiment(), data)[1].result
    values = [[lpips("L", domain, pair) for pair in range(PAIRS)] for domain in ("ID", "OOD")]
    assert result == compare_groups(*values)
    assert result.sign == "undecided"


def test_pairs_of_the_same_image_by_a_column_of_the_results(make_experiment: Make, data: StudyData) -> None:
    content = {"between": {"label": "attack", "baseline": "O", "against": "L"}, "pair_by": ["image"]}
    (entry,) = found(content, make_experiment(), data)
    assert entry.row == ()
    assert entry.result.count_baseline == 2 * PAIRS
    assert entry.result.difference == pytest.approx(np.mean([0.02 + 0.001 * pair for pair in range(PAIRS)]) / 2)


def test_several_values_against_one_baseline_and_several_metrics(make_experiment: Make, data: StudyData) -> None:
    data.results["steps"] = data.results["cell_id"].str[-1].astype(int) % 3
    between = {"label": "steps", "baseline": 0, "against": [2, 1]}
    entries = found({"between": between, "values": ["lpips", "ssim"]}, make_experiment(), data)
    assert [(entry.against, entry.metric) for entry in entries] == [
        ("2", "lpips"), ("2", "ssim"), ("1", "lpips"), ("1", "ssim"),
    ]  # fmt: skip


def test_attacks_on_one_image_are_one_unit(make_experiment: Make, data: StudyData) -> None:
    # Without rows, both attacks on an image fall into one sample: its mean counts once.
    content = {key: value for key, value in CONTRAST.items() if key not in ("kind", "rows")}
    for pair_by in ((), ("pair",)):
        (entry,) = found(content | {"pair_by": pair_by}, make_experiment(), data)
        assert (entry.result.count_baseline, entry.result.count_against) == (PAIRS, PAIRS)
        assert entry.result.difference == pytest.approx(np.mean([0.02 + 0.001 * pair for pair in range(PAIRS)]) / 2)
    # The same index in another data set is another image.
    other = data.results["cell_id"].str.startswith("L")
    data.results["dataset_name"] = data.results["dataset_name"].mask(other, "cifar10")
    (entry,) = found(content | {"pair_by": ()}, make_experiment(), data)
    assert entry.result.count_baseline == 2 * PAIRS


def test_two_metrics_of_the_same_images(make_experiment: Make, data: StudyData) -> None:
    content = {"rows": ["attack"], "metrics": {"baseline": "lpips", "against": "hf_detail"}}
    entries = found(content, make_experiment(), data)
    assert [(entry.baseline, entry.against, entry.metric) for entry in entries] == [
        ("lpips", "hf_detail", "hf_detail")
    ] * 2
    for entry in entries:
        assert entry.result.test == "wilcoxon"
        assert entry.result.count_baseline == 2 * PAIRS
        assert entry.result.difference == pytest.approx(0.1)
        assert entry.result.sign == "higher"


def test_halves_by_a_column(make_experiment: Make, data: StudyData) -> None:
    cells = [cell for cell in make_cells() if cell["labels"]["domain"] == "ID" and cell["labels"]["pair"] < 7]
    (entry, _) = found({"rows": ["attack"], "halves": "detail"}, make_experiment(cells=cells), data)
    # Pairs 0 to 2 have less detail than the median, 3 to 6 have not.
    assert (entry.result.count_baseline, entry.result.count_against) == (3, 4)
    assert (entry.result.baseline, entry.result.against) == pytest.approx((0.1, 0.45))
    assert (entry.baseline, entry.against, entry.result.test) == ("lower half", "upper half", "mann-whitney")


def test_csv_and_latex(make_experiment: Make, data: StudyData) -> None:
    halves = {"kind": "contrast", "halves": "detail", "values": ["lpips", "ssim"], "suffix": "halves"}
    pair = {"kind": "contrast", "metrics": {"baseline": "ssim", "against": "hf_detail"}, "suffix": "metrics"}
    experiment = make_experiment(CONTRAST | {"names": {"L": "GIA-L & more"}}, halves, pair)
    files = render_stage("tables", experiment, data)
    assert list(files) == stage_files("tables", experiment)
    table = pd.read_csv(io.BytesIO(files["exp_contrast.csv"]))
    assert list(table.columns) == [
        "attack", "baseline", "against", "metric", "n", "baseline_mean", "against_mean",
        "difference", "low", "high", "p", "test", "sign",
    ]  # fmt: skip
    last = table.iloc[1]
    assert (last["attack"], last["n"], last["test"], last["sign"]) == ("L", 8, "wilcoxon", "higher")
    assert last["difference"] == pytest.approx(0.0235)
    assert 0.02 < last["low"] < last["difference"] < last["high"] < 0.027
    assert {"n_baseline", "n_against"} <= set(pd.read_csv(io.BytesIO(files["exp_halves_contrast.csv"])).columns)
    for name, content in files.items():
        if name.endswith(".tex"):
            check_structure(content.decode())
    tex = files["exp_contrast.tex"].decode()
    assert r"GIA-L \& more & ID $\to$ OOD & 8 & 0.3500 & 0.3735 & $+$0.0235 & $+$0.02" in tex
    assert r"\label{tab:s-exp_contrast}" in tex
    assert "Images in pairs by Pair" in tex
    assert "Wilcoxon signed-rank test, not corrected for 2 comparisons" in tex
    assert r"Detail" in files["exp_halves_contrast.tex"].decode()
    assert r"SSIM $\to$ HF error of details" in files["exp_metrics_contrast.tex"].decode()
    assert files == render_stage("tables", experiment, data)


def test_an_image_without_partner_is_in_no_pair(make_experiment: Make, data: StudyData) -> None:
    left_out = ("L-ID-2", "L-OOD-5")
    cells = [cell for cell in make_cells() if cell["cell_id"] not in left_out]
    one, two = found(CONTRAST, make_experiment(cells=cells), data)
    assert (one.result.count_baseline, two.result.count_baseline) == (PAIRS, PAIRS - 2)
    pairs = [pair for pair in range(PAIRS) if pair not in (2, 5)]
    assert two.result.baseline == pytest.approx(np.mean([lpips("L", "ID", pair) for pair in pairs]))
    assert two.result.against == pytest.approx(np.mean([lpips("L", "OOD", pair) for pair in pairs]))


def test_a_row_that_lacks_a_side_is_left_out_and_counted(make_experiment: Make, data: StudyData) -> None:
    cells = [cell for cell in make_cells() if (cell["labels"]["attack"], cell["labels"]["domain"]) != ("O", "OOD")]
    (only,) = found(CONTRAST, make_experiment(cells=cells), data)
    assert only.row == ("L",)
    files = render_stage("tables", make_experiment(CONTRAST, cells=cells), data)
    caption = files["exp_contrast.tex"].decode()
    assert "Left out because one side of them is missing: 1 comparisons." in caption
    assert "Left out" not in render_stage("tables", make_experiment(CONTRAST), data)["exp_contrast.tex"].decode()
    # What no row has beside the baseline is an error still, whatever else is compared.
    for domain in ("ID", "OOD"):
        lone = [cell for cell in cells if cell["labels"]["domain"] != domain]
        with pytest.raises(UserError, match=f"no image has domain '{domain}'"):
            found(CONTRAST, make_experiment(cells=lone), data)
    several = CONTRAST | {"between": BETWEEN | {"against": ["OOD", "near"]}}
    with pytest.raises(UserError, match="no image has domain 'near'"):
        found(several, make_experiment(cells=cells), data)


def test_few_images_are_undecided_in_both_files(make_experiment: Make, data: StudyData) -> None:
    cells = [cell for cell in make_cells() if cell["labels"]["pair"] < 2]
    files = render_stage("tables", make_experiment(CONTRAST, cells=cells), data)
    table = pd.read_csv(io.BytesIO(files["exp_contrast.csv"]))
    assert table["sign"].tolist() == ["undecided"] * 2
    assert table[["low", "high"]].isna().all(axis=None)
    assert r" & -- & 0.500 & undecided \\" in files["exp_contrast.tex"].decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"between": BETWEEN | {"against": "OD"}}, "'exp', attack 'O': no image has domain 'OD'; they have: ID, OOD"),
        ({"pair_by": ["image"]}, "attack 'O': pair image '0' has no image with domain 'OOD'"),
        ({"pair_by": ["pairs"]}, "unknown column 'pairs'; labels: attack, domain, pair"),
        ({"values": ["brr"]}, "'brr' is a rate of a cell, not a value of an image"),
        ({"values": ["ipips"]}, "unknown column 'ipips'"),
        ({"values": ["dataset_name"], "rows": []}, "'dataset_name' is not numeric"),
        ({"values": ["chosen"]}, "'chosen' is not numeric"),
    ],
)
def test_unfit_columns(make_experiment: Make, data: StudyData, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        render_stage("tables", make_experiment(CONTRAST | change), data)


def test_a_missing_value_is_never_averaged_away(make_experiment: Make, data: StudyData) -> None:
    data.results.loc[(data.results["cell_id"] == "L-OOD-3") & data.results["chosen"], "lpips"] = np.nan
    with pytest.raises(UserError, match="cell L-OOD-3 has no value for 'lpips'"):
        found({"between": BETWEEN}, make_experiment(), data)
    with pytest.raises(UserError, match="halves by 'detail' need two images"):
        found({"halves": "detail"}, make_experiment(cells=make_cells()[:1]), data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"between": None}, "needs exactly one of between, metrics, halves"),
        ({"halves": "detail"}, "needs exactly one of"),
        ({"between": None, "halves": "detail"}, "pair_by needs between"),
        ({"between": BETWEEN | {"against": ["OOD", "ID"]}}, "baseline and against must not repeat a value"),
        ({"between": BETWEEN | {"against": []}}, "between.against"),
        ({"between": BETWEEN | {"column": 1}}, "between.column: unknown key"),
        ({"rows": ["domain"]}, "must not repeat a name"),
        (
            {"between": None, "pair_by": [], "values": ["psnr"], "metrics": {"baseline": "a", "against": "b"}},
            "values must be absent",
        ),
    ],
)
def test_wrong_entries(make_experiment: Make, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        make_experiment(CONTRAST | change)
    assert "\n" not in str(error.value)


def test_the_papers_sign_stands_beside_ours(make_experiment: Make, data: StudyData) -> None:
    names = {"ID": "None", "OOD": "R bias"}
    cells = [
        {**cell, "labels": {**cell["labels"], "modification": names[cell["labels"]["domain"]]}} for cell in make_cells()
    ]
    content = {
        "kind": "contrast",
        "rows": ["attack"],
        "between": {"label": "modification", "baseline": "None", "against": ["R bias"]},
        "pair_by": ["pair"],
        "published": "table4",
    }
    files = render_stage("tables", make_experiment(content, cells=cells), data)
    table = pd.read_csv(io.BytesIO(files["exp_contrast.csv"]))
    # Table 4: 0.0044 unmodified, 0.0327 without bias.
    assert table["published_difference"].tolist() == pytest.approx([0.0283] * 2)
    assert table["published_sign"].tolist() == ["higher"] * 2
    assert table["sign"].tolist() == ["undecided", "higher"]
    assert b"Paper's is" in files["exp_contrast.tex"]
    with pytest.raises(UserError, match="published needs between"):
        make_experiment({"kind": "contrast", "halves": "detail", "published": "table4"})
