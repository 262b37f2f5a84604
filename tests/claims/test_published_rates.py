"""Agreement with Tables 1 and 2 by the client's rate: counted by hand, what does not count, the fitted rate, files."""

import io
import math
from dataclasses import replace

import pandas as pd
import pytest

from gradleak.claims.base import ClaimData
from gradleak.claims.published_rates import RateAgreement, rate_agreements
from gradleak.claims.published_rates_report import rates_csv, rates_figure, rates_md
from gradleak.presentations.read import parse_experiment

# LPIPS over U; the paper's Table 1, CIFAR10, O: 0.0189, 0.1231, 0.1499, 0.1921, 0.2522 (below, then above 0.1)
ONE = {
    0.01: {1: 0.02, 2: 0.03, 4: 0.04, 6: 0.05, 8: 0.06},  # one agrees, ranks are the same
    0.03: {1: 0.02, 2: 0.03, 4: 0.14, 6: 0.13, 8: 0.15},  # four agree
    0.1: {1: 0.02, 2: 0.12, 4: 0.15, 6: 0.19, 8: 0.25},  # all agree, but a client diverges
}
# ... over mini-batches; Table 2, CIFAR10, O, bst: 0.0172, 0.0641, 0.1088 for 1, 2, 3
TWO = {1: 0.02, 2: 0.2, 3: 0.21}


def cells_of(name: str, model: str, rate: float, lpips: dict[int, float], **labels: object) -> tuple[list, list]:
    """Cells and their rows: as many local steps as the key says."""
    cells, rows = [], []
    for steps, value in lpips.items():
        cell = f"{name}-{model}-{rate}-{steps}"
        cells.append({"cell_id": cell, "labels": {"dataset": "CIFAR10", "attack": "O", "batches": steps, **labels}})
        fixed = {"restart": 0, "chosen": True, "position": 0, "image": 0, "client_samples": 4, "unattacked": None}
        facts = {"model_name": model, "client_lr": rate, "client_steps": steps, "attack_knowledge": "bst"}
        rows.append({"cell_id": cell, **fixed, **facts, "lpips": value, "client_diverged": None})
    return cells, rows


def study(one: list, two: list, rows: list) -> ClaimData:
    shows = {
        "table1": {"rows": ["dataset", "attack", "client_lr", "model_name"], "columns": "client_steps"},
        "table2": {"rows": ["dataset", "attack", "client_lr", "knowledge"], "columns": "batches"},
    }
    experiments = {
        name: parse_experiment(
            name, {"title": name, "show": [{"kind": "table", "published": name, **show}], "cells": cells}, "plan"
        )
        for (name, show), cells in zip(shows.items(), (one, two), strict=True)
        if cells
    }
    return ClaimData("mine", "A study of mine", experiments, pd.DataFrame(rows).drop_duplicates("cell_id"))


@pytest.fixture
def data() -> ClaimData:
    one, rows = [], []
    for rate, lpips in ONE.items():
        cells, own = cells_of("one", "convnet", rate, lpips)
        one += cells
        rows += own
    rows[-1]["client_diverged"] = True
    cells, own = cells_of("one", "resnet18", 0.03, {2: 0.2, 4: 0.3})
    one += cells
    rows += own
    two, own = cells_of("two", "convnet", 0.01, TWO, knowledge="BST")
    return study(one, two, rows + own)


def of(found: list[RateAgreement], model: str, rate: float, table: str) -> RateAgreement:
    (row,) = [row for row in found if (row.model, row.rate, row.table) == (model, rate, table)]
    return row


def test_counts_by_hand(data: ClaimData) -> None:
    found = rate_agreements(data)
    assert [(row.model, row.rate, row.table) for row in found] == [
        *(("convnet", 0.01, table) for table in ("table1", "table2", "both")),
        *(("convnet", rate, table) for rate in (0.03, 0.1) for table in ("table1", "both")),
        *(("resnet18", 0.03, table) for table in ("table1", "both")),
    ]
    small = of(found, "convnet", 0.01, "table1")
    assert (small.judged, small.agreed, small.ranks.rho, small.stable) == (5, 1, pytest.approx(1), True)
    published = [0.0189, 0.1231, 0.1499, 0.1921, 0.2522]
    assert small.error == pytest.approx(
        sum(abs(ours - theirs) for ours, theirs in zip(ONE[0.01].values(), published, strict=True)) / 5
    )
    second = of(found, "convnet", 0.01, "table2")
    assert (second.judged, second.agreed) == (3, 2)
    assert math.isnan(second.ranks.rho)  # of three lines
    both = of(found, "convnet", 0.01, "both")
    assert (both.judged, both.agreed, both.ranks.n) == (8, 3, 8)
    assert (of(found, "convnet", 0.03, "both").agreed, of(found, "convnet", 0.1, "both").agreed) == (4, 5)


def test_the_fitted_rate_is_stable_and_agrees_best(data: ClaimData) -> None:
    found = rate_agreements(data)
    assert [(row.model, row.rate, row.table) for row in found if row.fitted] == [("convnet", 0.03, "both")]
    assert [row.rate for row in found if not row.stable] == [0.1, 0.1]
    stable = replace(data, results=data.results.assign(client_diverged=None))
    assert [row.rate for row in rate_agreements(stable) if row.fitted] == [0.1]
    # Two lines of ResNet-18 are too few for a fit.
    assert of(found, "resnet18", 0.03, "both").share == 1


def test_ranks_decide_where_shares_are_equal() -> None:
    one, rows = [], []
    for rate, lpips in {0.01: {1: 0.02, 2: 0.3, 4: 0.2, 6: 0.15}, 0.02: {1: 0.02, 2: 0.15, 4: 0.2, 6: 0.3}}.items():
        cells, own = cells_of("one", "convnet", rate, lpips)
        one += cells
        rows += own
    found = rate_agreements(study(one, [], rows))
    assert {row.share for row in found} == {1.0}
    assert [row.rate for row in found if row.fitted] == [0.02]


def test_what_is_no_row_of_the_paper_does_not_count(data: ClaimData) -> None:
    before = rate_agreements(data)
    surrogate, rows = cells_of("surrogate", "convnet", 0.01, ONE[0.1], attack="O, surrogate")
    # As many images in one batch: one step, whatever the column says.
    batch, more = cells_of("batch", "convnet", 0.01, TWO, knowledge="one batch")
    for row in more:
        row["client_steps"] = 1
    # The first cell of Table 2 under another name is the same cell.
    twice = [{"cell_id": "two-convnet-0.01-1", "labels": batch[0]["labels"]}, *batch[1:]]
    tables = {name: [*data.experiments[name].cells.to_dict("records")] for name in ("table1", "table2")}
    listed = {
        name: [{"cell_id": cell.pop("cell_id"), "labels": cell} for cell in cells] for name, cells in tables.items()
    }
    known = data.results.to_dict("records")
    wider = study([*listed["table1"], *surrogate], [*listed["table2"], *twice], [*known, *rows, *more])
    assert rate_agreements(wider) == before
    # A client that diverges there, at whatever point it is attacked, is still a client of that rate.
    rows[0]["client_diverged"] = True
    wider = study([*listed["table1"], *surrogate], listed["table2"], [*known, *rows])
    assert [row.rate for row in rate_agreements(wider) if not row.stable] == [0.01] * 3 + [0.1] * 2


def test_cells_that_were_not_attacked_have_no_number(data: ClaimData) -> None:
    cells = data.results["cell_id"] == "one-convnet-0.01-8"
    results = data.results.assign(unattacked=data.results["unattacked"].mask(cells, "the update is not finite"))
    found = rate_agreements(replace(data, results=results.assign(lpips=results["lpips"].mask(cells))))
    assert (of(found, "convnet", 0.01, "table1").judged, of(found, "convnet", 0.01, "table2").judged) == (4, 3)


def test_nothing_to_compare(data: ClaimData) -> None:
    without = replace(data, experiments={})
    assert rate_agreements(without) == []
    assert rate_agreements(replace(data, results=data.results.drop(columns="client_lr"))) == []
    assert rates_md([]) == ""
    assert rates_csv([], without).count("\n") == 1
    assert rates_figure([])[".png"].startswith(b"\x89PNG")


def test_files_say_what_was_counted_and_are_the_same_twice(data: ClaimData) -> None:
    found = rate_agreements(data)
    table = pd.read_csv(io.StringIO(rates_csv(found, data)), keep_default_na=False)
    assert len(table) == len(found)
    assert set(table["study"]) == {"mine"}
    assert table[table["fitted"] == "yes"][["model", "client_lr", "agreed", "stable"]].to_numpy().tolist() == [
        ["convnet", 0.03, 4, "yes"]
    ]
    text = rates_md(found)
    assert "| convnet | 0.03 | table1 and table2 | 5 | 5 | 4 (80 %) | 0.90 |" in text
    assert "Fitted rates: convnet 0.03." in text
    first, second = rates_figure(found), rates_figure(found)
    assert set(first) == {".pdf", ".png"}
    assert first == second
    assert first != rates_figure(found[:3])
