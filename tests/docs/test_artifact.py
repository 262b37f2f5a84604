"""The artifact appendix names every claim, and the verdicts of the reference results as they are."""

import re
from collections import Counter

import pytest
from pages import ROOT, pages

from gradleak.claims.base import ClaimData
from gradleak.claims.ledger import read_ledger
from gradleak.claims.verdict import judge_all
from gradleak.presentations.read import RESULT_COLUMNS, read_plan, read_table

SIGNS = {"supported": "+", "not supported": "-", "undecided": "?", "not tested": ""}
REFERENCE = ROOT / "results/reference"


@pytest.fixture(scope="module")
def table() -> dict[str, tuple[str, str]]:
    """What each claim reads, and the sign of its verdict on the reference results, by id."""
    rows = re.findall(
        r"^\| `([\w-]+)` \|[^|\n]*\| `([\w.]+)` \|[^|\n]*\|([^|\n]*)\|$", pages()["docs/artifact.md"], re.M
    )
    return {name: (reads, sign.strip()) for name, reads, sign in rows}


def test_it_names_every_claim_and_what_it_reads(table):
    assert {name: reads for name, (reads, _) in table.items()} == {
        claim.id: claim.statistic.reads for claim in read_ledger()
    }


def test_the_readme_counts_its_verdicts(table):
    counts = Counter(sign for _, sign in table.values())
    said = re.search(
        r"Of the (\d+) claims in [^,]*,[^.]* support (\d+), do not support (\d+), leave (\d+) undecided",
        pages()["README.md"],
    )
    assert said is not None
    assert [*map(int, said.groups())] == [len(table), *(counts[sign] for sign in "+-?")]


def test_its_verdicts_are_those_of_the_reference_results(table):
    plan = REFERENCE / "plan.json"
    outline, experiments = read_plan(plan)
    results = read_table(REFERENCE / "results.parquet", [*RESULT_COLUMNS, "position", "client_samples"])
    # Theory's claims read what `gradleak theory` writes: tests/theory compares that.
    claims = [claim for claim in read_ledger() if not claim.statistic.reads.endswith(".csv")]
    verdicts = judge_all(claims, ClaimData(outline.study, outline.title, experiments, results, None))
    assert {verdict.claim.id: SIGNS[verdict.word] for verdict in verdicts} == {
        claim.id: table[claim.id][1] for claim in claims
    }
