"""The table kind: CSV, LaTeX, bold, published values beside ours, and the command."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.cli.outputs import tables
from gradleak.errors import UserError
from gradleak.presentations.markup import escape
from gradleak.presentations.table import Table
from gradleak.presentations.write import render_stage, write_stage
from gradleak.report import pivot

Make = Callable[..., Experiment]
TABLE = {
    "kind": "table",
    "rows": ["dataset", "attack"],
    "columns": "client_steps",
    "bold_above": 0.1,
    "published": "table1",
}


def render(experiment: Experiment, data: StudyData) -> tuple[pd.DataFrame, str]:
    files = render_stage("tables", experiment, data)
    return pd.read_csv(io.BytesIO(files["exp.csv"])), files["exp.tex"].decode()


def check_structure(tex: str) -> None:
    """Braces balance, environments nest, and every line of the tabular has the same number of cells."""
    bare = re.sub(r"\\[{}]", "", tex)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\begin\{([a-z*]+)\}", tex) == re.findall(r"\\end\{([a-z*]+)\}", tex)[::-1]
    lines = [line for line in tex.splitlines() if line.rstrip().endswith(r"\\")]
    spans = [sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)) for line in lines]
    cells = {len(re.findall(r"(?<!\\)&", line)) + 1 + span for line, span in zip(lines, spans, strict=True)}
    preamble = re.search(r"@\{\}([lc]+)@\{\}", tex)
    assert preamble is not None
    assert cells == {len(preamble[1])}


def test_csv_is_tidy_and_joins_the_paper(make_experiment: Make, data: StudyData) -> None:
    table, _ = render(make_experiment(TABLE), data)
    assert list(table.columns) == [
        "dataset", "attack", "column", "metric", "value", "std", "trials", "published", "difference",
    ]  # fmt: skip
    first = table.iloc[0]
    assert (first["attack"], first["column"], first["trials"]) == ("O", 1, 2)
    assert first["value"] == pytest.approx(0.07)
    assert first["published"] == 0.0189
    assert first["difference"] == pytest.approx(0.07 - 0.0189)
    # L has no cell with two steps, but the paper has a value.
    last = table.iloc[-1]
    assert (last["attack"], last["column"], last["trials"], last["published"]) == ("L", 2, 0, 0.0952)
    assert pd.isna(last["value"])
    assert pd.isna(last["difference"])


def test_latex(make_experiment: Make, data: StudyData) -> None:
    _, tex = render(make_experiment(TABLE), data)
    check_structure(tex)
    assert r"CIFAR10 & O & 0.0700\,{\scriptsize$\pm$.0283} & \textbf{0.2500}\,{\scriptsize$\pm$.0707} \\" in tex
    assert r"{\scriptsize\color{gray}0.0189} & {\scriptsize\color{gray}0.1231}" in tex
    assert r" & L & 0.0250\,{\scriptsize$\pm$.0071} & -- \\" in tex
    assert "over 2 trials" in tex
    assert "Bold: LPIPS above 0.1." in tex
    assert r"study \texttt{test\_study}, except those in small grey type" in tex


def test_an_entry_of_fewer_trials_says_how_many(make_experiment: Make, data: StudyData) -> None:
    labels = {
        cell: {"attack": "L" if cell == "c1" else "O", "dataset": "CIFAR10"} for cell in ("a1", "a2", "b1", "b2", "c1")
    }
    experiment = make_experiment(TABLE, labels=labels)
    files = render_stage("tables", experiment, data)
    tex = files["exp.tex"].decode()
    check_structure(tex)
    assert r" & L & 0.0200\,{\scriptsize(1)} & -- \\" in tex
    assert tex.count(r"\scriptsize(") == 1
    assert "over 1 to 2 trials per entry. In brackets: how many trials, where fewer than the most." in tex
    rows = pd.read_csv(io.BytesIO(files["exp.csv"]), dtype=str, keep_default_na=False).to_dict("records")
    (table,) = experiment.show
    assert isinstance(table, Table)
    fields = [str(field.text) for row in pivot.rows_by_columns(table, rows).rows for field in row]
    assert [text for text in fields if text.endswith(")") and "published" not in text] == ["0.0200 (1)"]
    assert "In brackets: how many trials, where fewer than the most." in pivot.caption(table, rows)
    assert "brackets" not in render(make_experiment(TABLE), data)[1]


def test_bold_rule() -> None:
    table = Table(columns="x", values=("psnr", "lpips"), bold_above=0.1, bold_value="lpips")
    assert table.bold("lpips", 0.1001)
    assert not table.bold("lpips", 0.1)
    assert not table.bold("psnr", 20.0)
    below = Table(columns="x", bold_below=0.1)
    assert below.bold("lpips", 0.05)
    assert not below.bold("lpips", 0.1)


def test_several_values_become_lines_of_one_row(make_experiment: Make, data: StudyData) -> None:
    show = {"kind": "table", "rows": ["attack"], "columns": "client_steps", "values": ["lpips", "brr", "wsrr"]}
    table, tex = render(make_experiment(show), data)
    check_structure(tex)
    assert list(table["metric"].unique()) == ["lpips", "brr", "wsrr"]
    assert r"Attack & Metric & 1 & 2 \\" in tex
    assert r" & BRR (\%) & 37.50\,{\scriptsize$\pm$17.68} & 0.00" in tex
    assert "grey" not in tex


def test_no_rows_and_one_trial(make_experiment: Make, data: StudyData) -> None:
    labels = {"a1": {"modification": "None"}, "b1": {"modification": "R ReLU"}}
    show = {"kind": "table", "columns": "modification", "published": "table4"}
    table, tex = render(make_experiment(show, labels=labels), data)
    check_structure(tex)
    assert table["published"].tolist() == [0.0044, 0.0011]
    assert "one trial per entry" in tex
    assert r"LPIPS $\downarrow$ & 0.0500 & 0.2000 \\" in tex


def test_published_labels_may_be_constant_in_a_row(make_experiment: Make, data: StudyData) -> None:
    table, _ = render(make_experiment(TABLE | {"rows": ["attack"]}), data)
    # The last entry has no cell; its data set is that of the rest of its row.
    assert table["published"].tolist() == [0.0189, 0.1231, 0.0750, 0.0952]
    assert table["trials"].tolist() == [2, 2, 2, 0]


def test_published_values_that_do_not_fit(make_experiment: Make, data: StudyData) -> None:
    labels = {"a1": {"attack": "O", "dataset": "CIFAR10"}, "a2": {"attack": "O", "dataset": "CIFAR100"}}
    with pytest.raises(UserError, match="published 'table1' lists dataset apart"):
        render(make_experiment(TABLE | {"rows": ["attack"]}, labels=labels), data)
    with pytest.raises(UserError, match="unknown column 'dataset'"):
        render(make_experiment(TABLE | {"rows": ["attack"]}, labels={"a1": {"attack": "O"}}), data)


def test_a_table_wider_than_the_page_is_shrunk(make_experiment: Make, data: StudyData) -> None:
    show = {"kind": "table", "rows": ["attack"], "columns": "client_steps", "wide": False}
    _, tex = render(make_experiment(show), data)
    assert "resizebox" not in tex
    assert tex.startswith("% needs \\usepackage{booktabs}, \\usepackage{xcolor}\n")
    _, tex = render(make_experiment(show | {"names": {"O": "an attack with quite a long name"}}), data)
    check_structure(tex)
    assert r"\resizebox{\linewidth}{!}{%" in tex
    assert r"\usepackage{graphicx}" in tex


def test_knowledge_level_beside_published_values(make_experiment: Make, data: StudyData) -> None:
    data.results["attack_level"] = data.results["cell_id"].str[0].map({"a": 1, "b": 1, "c": 2})
    table, tex = render(make_experiment(TABLE | {"rows": ["dataset", "attack", "attack_level"]}), data)
    check_structure(tex)
    assert table[["attack", "attack_level"]].to_numpy().tolist() == [["O", 1], ["O", 1], ["L", 2], ["L", 2]]
    # As without the level, which the paper's table does not have.
    assert table["published"].tolist() == [0.0189, 0.1231, 0.0750, 0.0952]
    assert r"Dataset & Attack & Level & 1 & 2 \\" in tex
    assert r"CIFAR10 & O & 1 & 0.0700" in tex
    _, tex = render(
        make_experiment(TABLE | {"rows": ["attack", "attack_level"], "headings": {"attack_level": "K"}}), data
    )
    assert r"Attack & K & 1 & 2 \\" in tex


PHOTOS = {cell: {"attack": "O", "dataset": "photos10", "paper": "CIFAR10"} for cell in ("a1", "a2", "b1", "b2")}


def test_published_as_names_the_row_to_compare_with(make_experiment: Make, data: StudyData) -> None:
    show = TABLE | {"published_as": {"dataset": "paper"}}
    labels = PHOTOS | {"c1": {"attack": "L", "dataset": "photos10", "paper": "none"}}
    table, tex = render(make_experiment(show, labels=labels), data)
    check_structure(tex)
    assert table["dataset"].tolist() == ["photos10"] * 3
    assert table["published"].tolist()[:2] == [0.0189, 0.1231]
    assert table["difference"].tolist()[:2] == pytest.approx([0.07 - 0.0189, 0.25 - 0.1231])
    assert table.iloc[2][["published", "difference"]].isna().all()
    assert table["published_as"].tolist()[:2] == ["CIFAR10", "CIFAR10"]
    assert pd.isna(table["published_as"].iloc[2])
    assert r" & {\scriptsize\color{gray}published (CIFAR10)} & {\scriptsize\color{gray}0.0189} & {\scriptsize" in tex
    assert tex.count("published (") == 1


def test_published_as_may_name_columns_of_the_results(make_experiment: Make, data: StudyData) -> None:
    show = {"kind": "table", "columns": "size", "published": "table5"}
    show["published_as"] = {"attack": "gia", "column": "client_batch"}
    data.results["client_batch"] = data.results["client_steps"].map({1: 5, 2: 10})
    labels = {"a1": {"gia": "L", "size": "small"}, "b1": {"gia": "L", "size": "large"}}
    table, _ = render(make_experiment(show, labels=labels), data)
    assert table[["column", "published"]].to_numpy().tolist() == [["small", 0.0446], ["large", 0.0706]]


def test_merged_cell_of_table_2_stands_in_both_rows(make_experiment: Make, data: StudyData) -> None:
    labels = {
        f"{cell}{trial}": {"dataset": "CIFAR10", "attack": "O", "knowledge": knowledge}
        for cell, knowledge in (("a", "WST"), ("c", "BST"))
        for trial in (1, 2)
    }
    data.results["attack_knowledge"] = data.results["cell_id"].str[0].map({"a": "wst", "b": "wst", "c": "bst"})
    show = TABLE | {"rows": ["dataset", "attack", "knowledge"], "published": "table2"}
    table, tex = render(make_experiment(show, labels=labels), data)
    check_structure(tex)
    assert table[["knowledge", "published"]].to_numpy().tolist() == [["WST", 0.0172], ["BST", 0.0172]]
    named = render(make_experiment(show | {"published_as": {"attack_knowledge": "knowledge"}}, labels=labels), data)
    assert named[0].drop(columns="published_as").equals(table)
    assert named[0]["published_as"].isna().all()


def test_published_values_of_no_entry(make_experiment: Make, data: StudyData) -> None:
    with pytest.raises(
        UserError, match=r"none of the table's entries, such as dataset 'photos10', attack 'O'"
    ) as error:
        render(make_experiment(TABLE, labels=PHOTOS), data)
    assert "it has dataset: CIFAR10, CIFAR100; attack: O, L; column: 1, 2, 4, 6, 8. 'published_as'" in str(error.value)
    with pytest.raises(UserError, match="unknown column 'papers'; labels: attack, dataset, paper"):
        render(make_experiment(TABLE | {"published_as": {"dataset": "papers"}}, labels=PHOTOS), data)


def test_special_characters(make_experiment: Make, data: StudyData) -> None:
    assert escape("a_b & 50% #1 {x} ~^<>\\") == (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbackslash{}"
    )
    assert escape("$G_O$ + $p_{TV}$") == "$G_O$ + $p_{TV}$"
    assert escape("5$ & 6$ only") == r"5\$ \& 6\$ only"
    assert escape("$}$") == r"\$\}\$"
    labels = {"a1": {"kind": "#1_50%"}, "b1": {"kind": "$p_{TV}$ & {"}}
    show = {"kind": "table", "rows": ["kind"], "columns": "client_steps", "names": {"1": "one & only"}}
    _, tex = render(make_experiment(show, labels=labels, title="100% of $x_i$ & {more}"), data)
    check_structure(tex)


def test_same_bytes_twice_and_nothing_else_in_the_folder(
    make_experiment: Make, data: StudyData, tmp_path: Path
) -> None:
    experiments = {"exp": make_experiment(TABLE)}
    first = {path.name: path.read_bytes() for path in write_stage("tables", experiments, (), data, tmp_path)}
    second = {path.name: path.read_bytes() for path in write_stage("tables", experiments, ("exp",), data, tmp_path)}
    assert first == second
    assert all(content.endswith(b"\n") and b"\r" not in content for content in first.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exp.csv", "exp.tex"]


def test_an_error_leaves_what_was_there(make_experiment: Make, data: StudyData, tmp_path: Path) -> None:
    (tmp_path / "exp.csv").write_text("before")
    with pytest.raises(UserError, match="unknown column"):
        write_stage("tables", {"exp": make_experiment(TABLE | {"values": ["nothing"]})}, (), data, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_command(results: pd.DataFrame, tmp_path: Path) -> None:
    results.to_parquet(tmp_path / "results.parquet")
    cells = [{"cell_id": "a1", "labels": {"dataset": "CIFAR10", "attack": "O"}}]
    experiment = {"title": "t", "paper": "", "show": [TABLE], "cells": cells}
    empty = experiment | {"show": []}
    (tmp_path / "plan.json").write_text(json.dumps({"study": "s", "experiments": {"exp": experiment, "none": empty}}))
    options = [
        "--results",
        f"{tmp_path}/results.parquet",
        "--plan",
        f"{tmp_path}/plan.json",
        "--out",
        f"{tmp_path}/out",
    ]
    result = CliRunner().invoke(tables, options, catch_exceptions=False)
    assert result.output.split() == [f"{tmp_path}/out/exp.csv", f"{tmp_path}/out/exp.tex"]
    with pytest.raises(UserError, match="unknown experiment 'fig9'; known: exp, none"):
        CliRunner().invoke(tables, [*options, "fig9"], catch_exceptions=False)
    with pytest.raises(UserError, match="'none' shows no tables"):
        CliRunner().invoke(tables, [*options, "none"], catch_exceptions=False)
    results.drop(columns="chosen").to_parquet(tmp_path / "results.parquet")
    with pytest.raises(UserError, match=r"results\.parquet: lacks the column 'chosen'; has: cell_id"):
        CliRunner().invoke(tables, options, catch_exceptions=False)
    (tmp_path / "results.parquet").write_text("no table")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        CliRunner().invoke(tables, options, catch_exceptions=False)
    assert "Example" in CliRunner().invoke(tables, ["--help"]).output
