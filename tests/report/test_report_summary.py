"""The summary of a study: counts as claims.csv has them, its strongest finding, and what is missing."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from core_cases import gradleak
from report_cases import write_reported

from gradleak.claims.report import FILES
from gradleak.claims.verdict import VERDICTS
from gradleak.report.summary import _VERDICTS, strongest_finding
from gradleak.study.config import Config
from gradleak.study.expand import DEFAULT_STUDY

COLUMNS = ("claim", "reads", "effect_is", "claimed", "verdict", "reason", "strongest_verdict")


def claim(text, effect="", low="", high="", verdict="supported", **more):
    """A line of claims.csv, of a claim that an LPIPS is above 0.1."""
    line = dict.fromkeys(COLUMNS, "") | {"claim": text, "verdict": verdict, "claimed": "above"}
    line |= {"effect_is": "LPIPS $x$", "reads": "fig1", "strongest_verdict": "supported"}
    numbers = {"margin": "0.1", "effect": str(effect), "low": str(low), "high": str(high)}
    return line | numbers | more


CLEAR = claim("Clear.", 0.5, 0.4, 0.6)
CLEARER = claim("Narrow.", 0.3, 0.29, 0.31)


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ([], "Clear."),
        ([claim("Farther, and less sure.", 0.9, 0.2, 1.6)], "Clear."),
        ([CLEARER], "Narrow."),
        ([claim("Below.", 0.02, 0.01, 0.03, claimed="below")], "Below."),
        ([CLEARER | {"verdict": "not supported"}], "Clear."),
        ([CLEARER | {"strongest_verdict": "undecided"}], "Clear."),
        ([CLEARER | {"strongest_verdict": ""}], "Clear."),  # of nothing that protects
        ([claim("No width.", 0.3, 0.3, 0.3), claim("No interval.", 0.3)], "Clear."),
        ([CLEAR | {"claim": "Equal."}], "Clear."),
    ],
)
def test_the_strongest_finding_is_farthest_from_its_margin_in_half_widths(others, found):
    assert strongest_finding([CLEAR, *others])["claim"] == found


def test_where_nothing_is_supported_there_is_no_strongest_finding():
    assert strongest_finding([CLEAR | {"verdict": "undecided"}]) is None
    assert strongest_finding([]) is None


def test_words_are_those_of_verdicts_and_the_default_study_the_configs():
    assert set(_VERDICTS) <= set(VERDICTS)
    assert Config().study == DEFAULT_STUDY


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of the config's, planned and with results; returns its folder of figures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workflow/studies").mkdir(parents=True)
    (tmp_path / "workflow/studies/small.yaml").touch()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"study": "small"}))
    (tmp_path / "results/small").mkdir(parents=True)
    write_reported(tmp_path / "results/small", tmp_path / "ledger.yaml")
    figures = Path("paper_figures/small")
    figures.mkdir(parents=True)
    return figures


def said(*arguments):
    ran = gradleak("summary", *arguments)
    assert ran.code == 0, ran.err
    return ran.out.splitlines()


def write_claims(path, *claims):
    with path.open("w") as file:
        writer = csv.DictWriter(file, CLEAR)
        writer.writeheader()
        writer.writerows(claims)


def test_a_finished_study(study):
    untested = [claim(f"{i}", verdict="not tested", reason=f"no experiment '{'b' if i else 'a'}'") for i in range(3)]
    others = [claim("x", verdict="undecided"), claim("y", verdict="new word")]
    write_claims(study / "claims.csv", CLEAR, *untested, *others)
    for name in ("fig1_gallery.png", "fig1_gallery.pdf", "fig10.png", "table1.tex", "claims.md"):
        (study / name).touch()
    Path("results/small/report.html").touch()
    assert said() == [
        "study              small: Small",
        "                   1 experiments, 30 cells",
        "in the folder      paper_figures/small: 2 figures and 1 tables, with their numbers as CSV",
        "claims             1 supported, 0 not supported, 1 undecided, 3 not tested, 1 new word; of 6",
        "not tested         most often (2 of 3) because no experiment 'b'",
        "strongest finding  Clear.",
        "                   LPIPS x: 0.500 (95 % interval 0.400 to 0.600), claimed above 0.1",
        "open next          results/small/report.html in a browser",
        "                   paper_figures/small/fig1_gallery.png, on the strongest finding",
        "                   paper_figures/small/claims.md, each claim with its reason",
    ]


def test_of_the_files_that_the_claims_stage_writes(study):
    read = ["--results=results/small/results.parquet", "--plan=results/small/plan.json", "--ledger=ledger.yaml"]
    assert gradleak("claims", *read, f"--out={study}").code == 0
    assert {path.name for path in study.iterdir()} == set(FILES)
    lines = said("--study", "small")
    assert lines[3].startswith("claims             1 supported, 0 not")
    assert lines[4].startswith("strongest finding  none")  # all trials have a rank correlation of 1


def test_what_is_missing_is_said(study):
    Path("results/small/results.parquet").unlink()
    assert said()[3:] == [
        "missing            results/small/results.parquet, paper_figures/small/claims.csv; `make` goes on from what is"
        " finished",
        "open next          `make report`, which writes results/small/report.html",
    ]


def test_cells_from_archives_are_counted(study):
    path = Path("results/small/plan.json")
    plan = json.loads(path.read_text())
    plan["reused"] = [{"archive": "old", "sha256": "0" * 64, "data": {}, "cells": ["A00", "A01"]}]
    path.write_text(json.dumps(plan))
    assert said()[1] == "                   1 experiments, 30 cells, 2 of them reused"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda figures: Path("results/small/plan.json").unlink(), "plan.json"),
        (lambda figures: (figures / "claims.csv").write_text("id,claim\n"), "claims.csv: lacks the column"),
        (lambda figures: write_claims(figures / "claims.csv", CLEAR | {"low": "x"}), "low 'x' is not a number"),
        (lambda figures: Path("config.yaml").write_text("study: nosuch\n"), "unknown study 'nosuch'"),
    ],
)
def test_bad_files_are_one_line(study, spoil, message):
    spoil(study)
    ran = gradleak("summary")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert message in ran.err
