"""Published numbers beside ours: every one is there, differences, verdicts, agreement and ranks by hand."""

import io
import math
from dataclasses import replace

import pandas as pd
import pytest

from gradleak.analysis.experiment import Baseline
from gradleak.analysis.published import published, published_names
from gradleak.claims.base import ClaimData
from gradleak.claims.published import agreements, published_lines
from gradleak.claims.published_report import by_source, published_csv, published_md, published_tex
from gradleak.presentations.read import parse_experiment

ONE = {1: 0.02, 2: 0.05, 4: 0.2, 6: 0.15, 8: 0.3}  # LPIPS over U; the paper: 0.0189, 0.1231, 0.1499, 0.1921, 0.2522
FOUR = {"None": 0.05, "R ReLU": 0.04, "R bias": 0.04}  # the paper: 0.0044, 0.0011 (better), 0.0327 (worse)


@pytest.fixture
def data() -> ClaimData:
    rows, one, four = [], [], []
    fixed = {"restart": 0, "chosen": True, "position": 0, "client_samples": 1, "dataset_name": "photos10"}
    for trial in range(2):
        more = 0.01 * (2 * trial - 1)
        for steps, lpips in ONE.items():
            cell = f"one-{steps}-{trial}"
            one.append({"cell_id": cell, "labels": {"dataset": "photos10", "attack": "O", "paper": "CIFAR10"}})
            rows.append({"cell_id": cell, **fixed, "image": trial, "client_steps": steps, "lpips": lpips + more})
        for name, lpips in FOUR.items():
            cell = f"four-{name}-{trial}"
            four.append({"cell_id": cell, "labels": {"modification": name}})
            rows.append({"cell_id": cell, **fixed, "image": trial, "client_steps": 1, "lpips": lpips + more})
    show = {"kind": "table", "rows": ["dataset", "attack"], "columns": "client_steps", "published": "table1"}
    show["published_as"] = {"dataset": "paper"}
    experiments = {
        "table1": parse_experiment("table1", {"title": "1", "show": [show], "cells": one}, "plan"),
        "table4": parse_experiment(
            "table4",
            {
                "title": "4",
                "show": [{"kind": "table", "columns": "modification", "published": "table4"}],
                "cells": four,
            },
            "plan",
        ),
    }
    return ClaimData("mine", "A study of mine", experiments, pd.DataFrame(rows))


def test_every_published_number_is_there(data: ClaimData) -> None:
    lines = published_lines(data)
    for name in published_names():
        table = published(name)
        own = [line for line in lines if line.table == name]
        assert len(own) == len(table)
        for line, value in zip(own, table["value"], strict=True):
            assert line.published == value or (math.isnan(line.published) and math.isnan(value))
    assert sum(line.trials > 0 for line in lines) == len(ONE) + len(FOUR)
    nothing = ClaimData("mine", "A study of mine", {}, data.results)
    assert len(published_lines(nothing)) == len(lines)


def test_differences_and_verdicts(data: ClaimData) -> None:
    lines = {(line.table, line.labels, line.column): line for line in published_lines(data)}
    two = lines["table1", "CIFAR10, O", "2"]
    assert (two.value, two.trials, two.setting) == (pytest.approx(0.05), 2, "Dataset photos10")
    assert two.difference == pytest.approx(0.05 - 0.1231)
    assert (two.paper_verdict, two.our_verdict, two.agrees) == ("above", "below", False)
    assert lines["table1", "CIFAR10, O", "4"].agrees is True
    assert lines["table1", "CIFAR10, L", "4"].agrees is None
    assert lines["table4", "", "None"].agrees is None
    found = {name: lines["table4", "", name] for name in ("R ReLU", "R bias", "R DropOut")}
    assert [(line.paper_verdict, line.our_verdict, line.agrees) for line in found.values()] == [
        ("better", "better", True),
        ("worse", "better", False),
        ("better", "", None),
    ]


def test_agreement_and_ranks(data: ClaimData) -> None:
    found = {(own.table, own.metric): own for own in agreements(published_lines(data))}
    first = found["table1", "lpips"]
    assert (first.printed, first.found, first.judged, first.agreed) == (20, 5, 5, 4)
    assert first.rate == pytest.approx(0.8)
    assert first.ranks.rho == pytest.approx(0.9)  # ranks of ours 1, 2, 4, 3, 5: 1 - 6 * 2 / (5 * 24)
    assert (found["table4", "lpips"].judged, found["table4", "lpips"].agreed) == (2, 1)
    assert math.isnan(found["table4", "lpips"].ranks.rho)
    last = found["table6", "lpips"]
    assert (last.printed, last.found, last.judged) == (16, 0, 0)
    assert math.isnan(last.rate)


def test_numbers_whose_baseline_is_not_reconstructed_have_no_verdict(data: ClaimData) -> None:
    baseline = Baseline.parse({"where": {"client_steps": 4}}, "here")  # 0.2
    noisy = replace(data.experiments["table1"], baseline=baseline)
    found = {group.table: group for group in agreements(published_lines(replace(data, experiments={"table1": noisy})))}
    first = found["table1"]
    assert (first.found, first.judged, first.agreed) == (5, 0, 0)


GUO = {1: 0.03, 4: 0.12, 32: 0.2}  # LPIPS over B; theirs on CIFAR-10: 0.0559, 0.0559, 0.1634


def test_each_source_is_counted_by_itself(data: ClaimData) -> None:
    cells = [{"cell_id": f"guo-{b}", "labels": {"dataset": "CIFAR10", "settings": "ours"}} for b in GUO]
    fixed = {"restart": 0, "chosen": True, "position": 0, "image": 0, "dataset_name": "cifar10", "client_steps": 1}
    rows = [
        {"cell_id": f"guo-{b}", **fixed, "client_samples": b, "lpips": lpips, "psnr": 20 + lpips}
        for b, lpips in GUO.items()
    ]
    show = {"kind": "table", "rows": ["dataset", "settings"], "columns": "client_samples", "published": "guo_batch"}
    show["values"] = ["psnr", "lpips"]
    experiments = {"guo": parse_experiment("guo", {"title": "G", "show": [show], "cells": cells}, "plan")}
    both = replace(data, experiments={**data.experiments, **experiments})
    both = replace(both, results=pd.concat([data.results, pd.DataFrame(rows)]))
    lines, before = published_lines(both), published_lines(data)
    paper, guo = (own for _, own in by_source(lines))
    assert agreements(paper) == agreements(by_source(before)[0][1])
    assert {line.source.name for line in guo} == {"Guo et al. 2025"}
    found = {(own.table, own.metric): own for own in agreements(guo)}
    assert (found["guo_batch", "lpips"].judged, found["guo_batch", "lpips"].agreed) == (3, 2)
    assert (found["guo_batch", "psnr"].found, found["guo_batch", "psnr"].judged) == (3, 0)
    assert (found["guo_batch", "ssim"].found, found["guo_batch", "ssim"].printed) == (0, 7)
    one = next(line for line in guo if line.trials)
    assert (one.setting, one.published, one.metric) == ("Settings ours", 22.03, "psnr")
    table = pd.read_csv(io.StringIO(published_csv(lines, both)), keep_default_na=False)
    for source, named in table.groupby("table")["source"]:
        assert set(named) == {"the paper" if source.startswith("table") else "Guo et al. 2025"}
    text = published_md(lines, both)
    assert "## The paper" in text
    assert (
        text.index("| table6 | lpips |")
        < text.index("Published numbers of Guo et al. 2025")
        < text.index("| guo_batch |")
    )
    assert "The numbers of Guo et al. 2025 and those of study mine" in published_tex(lines, both)


def test_files_name_the_study(data: ClaimData) -> None:
    lines = published_lines(data)
    for text in (published_md(lines, data), published_tex(lines, data)):
        assert "mine" in text
        assert "A study of mine" in text
    assert "| table1 | lpips | 20 | 5 | 5 | 4 (80 %) | 0.90 (n = 5) |" in published_md(lines, data)
    table = pd.read_csv(io.StringIO(published_csv(lines, data)), keep_default_na=False)
    assert len(table) == len(lines)
    assert set(table["agrees"]) == {"", "yes", "no"}
