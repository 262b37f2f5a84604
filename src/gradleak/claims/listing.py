"""All claims of the ledger as a Markdown table: `python -m gradleak.claims.listing`."""

import sys

from gradleak.claims import markdown
from gradleak.claims.ledger import read_ledger


def listing() -> str:
    """The table: id, text, place, what is read, statistic and what the paper claims of it."""
    rows = [
        [
            f"`{claim.id}`",
            claim.text,
            claim.where,
            f"`{claim.statistic.reads}`",
            f"`{claim.kind}`: {claim.statistic.effect} {claim.rule}",
        ]
        for claim in read_ledger()
    ]
    return markdown.table(["id", "claim", "in the paper", "reads", "statistic and claimed side"], rows)


if __name__ == "__main__":
    sys.stdout.write(listing())
