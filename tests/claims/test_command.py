"""`gradleak claims`: its files, same bytes twice, bad input in one line; the documentation's examples and table."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from core_cases import gradleak
from worlds import world

from gradleak.claims.base import ClaimData
from gradleak.claims.ledger import read_ledger
from gradleak.claims.report import FILES
from gradleak.claims.verdict import judge_all
from gradleak.study.config import Config
from gradleak.study.expand import load_study
from gradleak.study.planning import make_plan
from gradleak.workflow import Workflow

DOCS_FOLDER = Path(__file__).parents[2] / "docs"
DOCS = (DOCS_FOLDER / "claims.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the files of a study that has Table 1 and Figure 9."""
    data = world("paper")
    names = ("table1", "fig9")
    experiments = {}
    for name in names:
        cells = data.experiments[name].cells.to_dict("records")
        listed = [{"cell_id": cell.pop("cell_id"), "labels": cell} for cell in cells]
        experiments[name] = {"title": name, "paper": name, "show": [], "cells": listed}
    plan = {"study": "small", "title": "A small world", "experiments": experiments}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    kept = data.results[data.results["cell_id"].str.startswith(names)]
    kept.to_parquet(tmp_path / "results.parquet")
    return tmp_path


def run(place: Path, out: str, *options: str):
    return gradleak(
        "claims", f"--results={place}/results.parquet", f"--plan={place}/plan.json", f"--out={place}/{out}", *options
    )


def test_files_and_table(place: Path) -> None:
    ran = run(place, "a")
    assert ran.code == 0, ran.err
    assert "A small world" in ran.out
    assert re.search(r"updates-worse +1\.000 +1\.000 to 1\.000 +above 0 +12 +supported", ran.out)
    assert re.search(r"rog-stopped .*not tested +the study has no experiment 'table6'", ran.out)
    assert sorted(path.name for path in (place / "a").iterdir()) == sorted(FILES)
    table = pd.read_csv(place / "a/claims.csv", keep_default_na=False).set_index("id")
    assert list(table.index) == [claim.id for claim in read_ledger()]
    assert set(table["study"]) == {"small"}
    assert set(table["title"]) == {"A small world"}
    assert table.loc["skips-help", "verdict"] == "supported"
    assert "convnet" in table.loc["skips-help", "scale"]
    assert table.loc["updates-worse", "strongest_verdict"] == "supported"
    assert (place / "a/claims.md").read_text().startswith("Against the strongest attack of the study no claim falls.")
    for name in ("claims.md", "claims.tex"):
        text = (place / "a" / name).read_text()
        assert "A small world" in text
        assert "need not be the paper's" in text
        assert f"Of {len(table)} claims: {(table['verdict'] == 'supported').sum()} supported" in text
    assert run(place, "b").code == 0
    for name in FILES:
        assert (place / "a" / name).read_bytes() == (place / "b" / name).read_bytes()


def test_bad_input_is_one_line_and_writes_nothing(place: Path) -> None:
    (place / "ledger.yaml").write_text("claims: [{id: x}]")
    results = pd.read_parquet(place / "results.parquet")
    results[results["cell_id"] != "table1-0-0"].to_parquet(place / "fewer.parquet")
    for options, message in (
        ([f"--ledger={place}/ledger.yaml"], "ledger.yaml: claims[0]: text: Field required"),
        ([f"--results={place}/fewer.parquet"], "no results for cell table1-0-0"),
        ([f"--results={place}/none.parquet"], "none.parquet: cannot be read"),
    ):
        ran = run(place, "out", *options)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.count("\n") == 1
        assert message in ran.err
        assert not (place / "out").exists()


def test_latex_escapes_and_goes_on_over_pages(place: Path) -> None:
    assert run(place, "a").code == 0
    for name, tables in (("claims.tex", 1), ("published.tex", 2)):  # one of each source
        text = (place / "a" / name).read_text()
        found = re.findall(r"\\begin\{longtable\}\{@\{\}([^\n]*)@\{\}\}(.*?)\\end\{longtable\}", text, re.DOTALL)
        assert len(found) == text.count(r"\begin{longtable}") == tables
        assert not re.search(r"(?<!\\)_(?![{$])", re.sub(r"\\label\{[^}]*\}", "", text))
        for spec, whole in found:
            columns = len(re.sub(r"\{[^}]*\}", "", spec))
            lines = [line for line in whole[whole.index(r"\endfoot") :].splitlines() if line.endswith(r"\\")]
            assert lines
            assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {columns - 1}
        assert len(set(labels := re.findall(r"\\label\{([^}]*)\}", text))) == len(labels)


def test_the_rule_runs_again_after_an_edit_of_a_statistic_the_ledger_or_a_published_table() -> None:
    study = load_study(DOCS_FOLDER.parent / "tests/workflow/tiny.yaml")
    files = Workflow(make_plan(study, Config.parse({"device": "cpu"}, "here"))).claim_code()
    for part in (
        "claims/statistics/trend.py",
        "claims/verdict.py",
        "claims/adversary.py",
        "resources/claims.yaml",
        "claims/published_rates.py",
        "resources/published/table1.csv",
    ):
        assert any(file.endswith(f"src/gradleak/{part}") for file in files), part
    assert not any("attacks/" in file or "engine/" in file for file in files)


def test_examples_of_the_documentation(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(claims:.*?)```", DOCS, re.DOTALL)
    assert len(blocks) == 2
    claims = []
    for i, block in enumerate(blocks):
        (tmp_path / f"{i}.yaml").write_text(block)
        claims += read_ledger(tmp_path / f"{i}.yaml")
    (tmp_path / "lemma41.csv").write_text(
        "network,trial,error\n" + "".join(f"aligned,{i},1e-9\nrelu,{i},1\n" for i in range(6))
    )
    data = world("paper")
    found = judge_all(claims, ClaimData("s", "S", data.experiments, data.results, tmp_path))
    assert [verdict.word for verdict in found] == ["not tested", "supported"]
    assert yaml.safe_load(blocks[0])["claims"][0]["statistic"]["experiment"] == "bn_mode"
