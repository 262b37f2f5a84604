"""Claims judged in the invented worlds, once for all tests."""

import dataclasses

import pytest
from worlds import WORLDS, world, write_theory

from gradleak.claims.ledger import read_ledger
from gradleak.claims.verdict import Verdict, judge_all


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Verdict]]:
    """Verdicts by world and claim."""
    ledger = read_ledger()
    found: dict[str, dict[str, Verdict]] = {}
    for kind in WORLDS:
        folder = tmp_path_factory.mktemp(kind)
        write_theory(folder, kind)
        data = dataclasses.replace(world(kind), folder=folder)
        found[kind] = {verdict.claim.id: verdict for verdict in judge_all(ledger, data)}
    return found
