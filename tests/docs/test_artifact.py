"""The artifact appendix counts every claim, and has the verdicts of the reference results as they are."""

import re
from collections import Counter

import pytest
from pages import ROOT, pages

from gradleak.claims.base import ClaimData
from gradleak.claims.ledger import read_ledger
from gradleak.claims.report import claims_md
from gradleak.claims.verdict import judge_all
from gradleak.presentations.read import RESULT_COLUMNS, read_plan, read_table

WORDS = ("supported", "not supported", "undecided", "not tested")
REFERENCE = ROOT / "results/reference"
Verdicts = dict[str, str]


def verdicts_of(column: int) -> Verdicts:
    """The word of each claim's verdict in a column of the table, by id; one row names no claims but `all others`."""
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+: [^|]+) \| (\d+: [^|]+) \|$", pages()["docs/artifact.md"], re.M)
    assert tuple(word for word, *_ in rows) == WORDS
    named = {word: re.findall(r"`([\w-]+)`", cells[column]) for word, *cells in rows}
    ids = [claim.id for claim in read_ledger()]
    found = {name: word for word, names in named.items() for name in names}
    assert found.keys() <= set(ids)
    assert len(found) == sum(map(len, named.values()))  # none is named twice
    (others,) = [word for word, *cells in rows if cells[column].endswith("all others")]
    verdicts = {name: found.get(name, others) for name in ids}
    counts = Counter(verdicts.values())
    assert {word: int(cells[column].partition(":")[0]) for word, *cells in rows} == {w: counts[w] for w in WORDS}
    return verdicts


@pytest.fixture(scope="module")
def reference() -> Verdicts:
    return verdicts_of(1)


def test_it_counts_the_verdicts_of_quick():
    assert len(verdicts_of(0)) == len(read_ledger())


def test_the_readme_counts_its_verdicts(reference):
    counts = Counter(reference.values())
    said = re.search(
        r"Of the (\d+) claims in [^,]*,[^.]* support (\d+), do not support (\d+), leave (\d+) undecided",
        pages()["README.md"],
    )
    assert said is not None
    assert [*map(int, said.groups())] == [len(reference), *(counts[word] for word in WORDS[:3])]


def test_its_verdicts_are_those_of_the_reference_results(reference):
    plan = REFERENCE / "plan.json"
    outline, experiments = read_plan(plan)
    results = read_table(REFERENCE / "results.parquet", [*RESULT_COLUMNS, "position", "client_samples"])
    # Theory's claims read what `gradleak theory` writes: tests/theory compares that.
    claims = [claim for claim in read_ledger() if not claim.statistic.reads.endswith(".csv")]
    verdicts = judge_all(claims, ClaimData(outline.study, outline.title, experiments, results, None))
    assert {verdict.claim.id: verdict.word for verdict in verdicts} == {
        claim.id: reference[claim.id] for claim in claims
    }
    page = claims_md(verdicts, ClaimData(outline.study, outline.title, {}, results, None))
    assert f"\n> {page.splitlines()[0]}\n" in pages()["docs/artifact.md"]
