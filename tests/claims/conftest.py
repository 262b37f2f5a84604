"""Claims judged in the invented worlds, once for all tests."""

import pytest
from worlds import WORLDS, world

from gradleak.claims.ledger import read_ledger
from gradleak.claims.verdict import Verdict, judge_all


@pytest.fixture(scope="session")
def judged() -> dict[str, dict[str, Verdict]]:
    """Verdicts by world and claim."""
    ledger = read_ledger()
    return {kind: {found.claim.id: found for found in judge_all(ledger, world(kind))} for kind in WORLDS}
