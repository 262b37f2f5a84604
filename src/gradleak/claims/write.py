"""The files of `gradleak claims`: verdicts on claims, and published numbers beside ours."""

from pathlib import Path

from gradleak.claims.base import ClaimData
from gradleak.claims.published import published_lines
from gradleak.claims.published_report import published_csv, published_md, published_tex
from gradleak.claims.report import claims_csv, claims_md, claims_tex
from gradleak.claims.verdict import Verdict
from gradleak.files import write_text

FILES = tuple(f"{name}.{ending}" for name in ("claims", "published") for ending in ("csv", "tex", "md"))


def write_claims(verdicts: list[Verdict], data: ClaimData, out: Path) -> list[Path]:
    """Write all `FILES` into a folder; nothing is written unless all can be computed. Returns the paths."""
    lines = published_lines(data)
    texts = {
        "claims.csv": claims_csv(verdicts, data),
        "claims.tex": claims_tex(verdicts, data),
        "claims.md": claims_md(verdicts, data),
        "published.csv": published_csv(lines, data),
        "published.tex": published_tex(lines, data),
        "published.md": published_md(lines, data),
    }
    for name in FILES:
        write_text(out / name, texts[name])
    return [out / name for name in FILES]
