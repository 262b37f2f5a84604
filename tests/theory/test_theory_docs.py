"""docs/theory.md quotes what the experiments give."""

import re
from pathlib import Path

import pytest

from gradleak.theory import lemma41, theorem42, theorem43
from gradleak.theory.rounding import settled

PAGE = (Path(__file__).parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")


def _table(heading: str) -> list[list[str]]:
    """Body rows of the first table below a text."""
    below = PAGE[PAGE.index(heading) :]
    lines = re.search(r"\n\n(\|.*?)\n\n", below, re.DOTALL)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1].splitlines()[2:]]


def _shown(value: float) -> str:
    return f"{value:.5g}"


def test_lemma() -> None:
    table = settled(lemma41.summarise(lemma41.measure()))
    table = table[table["solution"] == "true"].pivot(index="network", columns="route", values="error")
    rows = _table("Median error of the image")
    assert len(rows) == len(lemma41.NETWORKS)
    for network, row in zip(lemma41.NETWORKS, rows, strict=True):
        assert row[1:] == [_shown(table.loc[network, route]) for route in ("printed", "inverses", "gradients")]


def test_theorem_42() -> None:
    table = theorem42.summarise(theorem42.measure())
    chosen = table[(table["network"] == "widening") & (table["mu"] == -0.5) & (table["adversary"] == "sum")]
    chosen = chosen.set_index(["rate", "U"])
    for rate, steps, *values in _table("`error_eq9`, `error_eq8`"):
        found = chosen.loc[(float(rate), int(steps)), ["error_eq9", "error_eq8", "error", "across"]]
        assert [float(value) for value in values] == pytest.approx(found.tolist(), rel=1e-3)


def test_theorem_43() -> None:
    found = settled(theorem43.sweep()).set_index(["parameters", "inputs"], drop=False)
    rows = _table("change of the gradient relative to it:")
    assert len(rows) == 7
    for _, parameters, inputs, rank, first, corrected in rows:
        row = found.loc[(int(parameters), int(inputs))]
        assert int(rank) == row["rank"]
        assert (first == "none") == (row["rank"] == row["inputs"])
        if first != "none":
            assert float(first) == pytest.approx(row["first_order"], rel=1e-3)
        assert float(corrected) == pytest.approx(row["difference"], rel=1e-2)
