"""Entries of `show`: what a wrong one is answered with, and which files entries write."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gradleak.analysis.experiment import Experiment
from gradleak.errors import UserError
from gradleak.presentations.base import PRESENTATIONS, parse_presentation
from gradleak.presentations.read import parse_experiment, read_plan
from gradleak.presentations.write import stage_files

TABLE = {"kind": "table", "rows": ["attack"], "columns": "client_steps"}


def test_kinds() -> None:
    assert {"table", "line", "gallery"} <= set(PRESENTATIONS.names())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"kind": "pie"},
            "here: unknown kind 'pie'; known: bars, contrast, correlation, curve, gallery, line, rounds, table",
        ),
        ({"rows": []}, "here: needs a 'kind'"),
        ("table", "here: needs a 'kind'"),
        (TABLE | {"colour": 1}, "here: colour: unknown key; known: kind, headings, names, quantities, suffix, rows"),
        ({"kind": "table"}, "here: columns: Field required"),
        (TABLE | {"published": "table9"}, "no published values 'table9'; known: table1"),
        (TABLE | {"published_as": {"dataset": "paper"}}, "published_as: unknown label 'dataset'; needs the key 'publ"),
        (
            TABLE | {"published": "table1", "published_as": {"data": "paper"}},
            "unknown label 'data'; published 'table1' has: dataset, attack, column",
        ),
        (TABLE | {"values": []}, "values"),
        (TABLE | {"rows": ["client_steps"]}, "must not repeat a name"),
        (TABLE | {"bold_value": "ssim"}, "bold_value must be one of values: lpips"),
        ({"kind": "line", "x": "a", "spread": "wide"}, "spread.*found 'wide'"),
        ({"kind": "line", "x": "a", "log_x": 1}, "log_x"),
    ],
)
def test_wrong_entry_is_one_clear_line(content: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_presentation(content, "here")
    assert "\n" not in str(error.value)


def test_names_may_be_numbers() -> None:
    entry = parse_presentation(TABLE | {"names": {4: "four"}, "headings": {"client_steps": "$U$"}}, "here")
    assert entry.shown(4) == entry.shown(4.0) == "four"
    assert (entry.shown(8.0), entry.heading("client_steps"), entry.heading("attack_name")) == (
        "8",
        "$U$",
        "Attack name",
    )


def test_a_bare_number_gets_its_name() -> None:
    entry = parse_presentation(TABLE | {"names": {1: "one"}, "headings": {"client_lr": "$\\eta$"}}, "here")
    assert [entry.named("client_lr", value) for value in (0.1, 1, "O")] == ["$\\eta$ = 0.1", "one", "O"]


def test_two_entries_must_not_write_one_file(make_experiment: Callable[..., Experiment]) -> None:
    line = {"kind": "line", "x": "client_steps"}
    with pytest.raises(UserError, match=r"two entries of 'show' write exp\.csv.*'suffix'"):
        make_experiment(TABLE, line)
    experiment = make_experiment(TABLE, line | {"suffix": "curve"})
    assert stage_files("tables", experiment) == ["exp.csv", "exp.tex"]
    assert stage_files("figures", experiment) == [f"exp_curve.{end}" for end in ("pdf", "png", "csv", "txt")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": []}, "has no cells"),
        ({"cells": [{"id": 1}]}, "needs a 'cell_id'"),
        ({"title": None}, "key 'title' must be a str"),
        ({"show": [{"kind": "pie"}]}, r"show\[0\]: unknown kind"),
    ],
)
def test_wrong_experiment(change: dict, message: str) -> None:
    content = {"title": "t", "show": [TABLE], "cells": [{"cell_id": "a"}]} | change
    with pytest.raises(UserError, match=message):
        parse_experiment("exp", content, "plan.json")


def test_read_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(UserError, match="cannot be read"):
        read_plan(path)
    path.write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_plan(path)
    path.write_text("{}")
    with pytest.raises(UserError, match="'study' and 'experiments'"):
        read_plan(path)
    cells = [{"cell_id": "a", "labels": {"n": 4}}, {"cell_id": "b"}]
    experiment = {"title": "t", "paper": {"table": 1}, "show": [TABLE], "cells": cells}
    path.write_text(json.dumps({"study": "s", "batches": {}, "experiments": {"exp": experiment}}))
    plan, experiments = read_plan(path)
    assert (plan.study, experiments["exp"].paper, experiments["exp"].labels) == ("s", "table 1", ["n"])
