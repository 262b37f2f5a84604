"""The table of columns in docs/architecture.md has the columns of the reference results, each once."""

import pyarrow.parquet as pq
from core_cases import documented_columns
from pages import ROOT

COLUMNS = pq.read_schema(ROOT / "results/reference/results.parquet").names


def test_every_column_of_the_reference_results_is_documented():
    patterns = documented_columns().values()
    assert [name for name in COLUMNS if not any(pattern.fullmatch(name) for pattern in patterns)] == []


def test_every_documented_column_is_in_the_reference_results():
    assert [name for name, pattern in documented_columns().items() if not any(map(pattern.fullmatch, COLUMNS))] == []


def test_no_column_is_documented_twice():
    patterns = documented_columns().values()
    twice = [name for name in COLUMNS if sum(pattern.fullmatch(name) is not None for pattern in patterns) > 1]
    assert twice == []
