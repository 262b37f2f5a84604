"""The paper's sections, and the captions of `workflow/report`."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from gradleak.errors import UserError
from gradleak.report.read import read_text
from gradleak.report.tables import NOTHING, html


@dataclass(frozen=True)
class PaperSection:
    """A section of the report. key: the paper's number, or nothing for what the paper does not have."""

    key: str
    heading: str

    @property
    def anchor(self) -> str:
        """Id of the section in the page."""
        return f"section-{self.key.replace('.', '-') or 'other'}"


OTHER = PaperSection("", "Beyond the paper")

SECTIONS = (
    PaperSection("2", "Sec. 2 and 3: attacks, defenses and their assumptions"),
    PaperSection("4.1", "Sec. 4.1: how the client trains"),
    PaperSection("4.2", "Sec. 4.2: which data the client has"),
    PaperSection("5.1", "Sec. 5.1: when in the training"),
    PaperSection("5.2", "Sec. 5.2: which model"),
    PaperSection("6", "Sec. 6: post-processing of updates"),
    PaperSection("B", "Appx. B: what adversaries have learned"),
    PaperSection("C", "Appx. C: supplementary results"),
    OTHER,
)

#: Where the paper has its tables, figures and theorems, for references without a section.
_PLACES = {
    "Table 1": "4.1", "Table 2": "4.1", "Table 3": "5.2", "Table 4": "5.2", "Table 5": "C", "Table 6": "C",
    "Table 7": "C", "Figure 1": "2", "Figure 2": "2", "Figure 3": "4.1", "Figure 4": "4.2", "Figure 5": "4.2",
    "Figure 6": "4.2", "Figure 7": "5.1", "Figure 8": "5.2", "Figure 9": "5.2", "Figure 10": "5.2", "Figure 11": "6",
    "Lemma 4": "4.1", "Theorem 4": "4.1",
}  # fmt: skip

_NUMBER = re.compile(r"\b(?:Sec\.|Appx\.) ([A-C]|\d+(?:\.\d+)*)")
_NAMED = re.compile(r"\b(?:Table|Figure|Lemma|Theorem) \d+")


def section_of(reference: str) -> PaperSection:
    """The section of a reference such as `Table 1, Sec. 4.1.1`: its first section, else that of its first table."""
    by_key = {section.key: section for section in SECTIONS}
    if found := _NUMBER.search(reference):
        parts = found[1].split(".")
        for length in range(len(parts), 0, -1):
            if (key := ".".join(parts[:length])) in by_key:
                return by_key[key]
        if parts[0] in ("1", "3"):
            return by_key["2"]
    if named := _NAMED.search(reference):
        return by_key.get(_PLACES.get(named[0], ""), OTHER)
    return OTHER


KINDS = ("table", "figure", "claims", "theory", "survey", "auxiliary")


def read_captions(folder: Path | None, study: str) -> dict[str, Markup]:
    """Caption of each of `KINDS`. Empty without a folder. Raises UserError for a missing file or a bad template."""
    if folder is None:
        return dict.fromkeys(KINDS, NOTHING)
    return {kind: _caption(folder / f"{kind}.rst", study) for kind in KINDS}


def _caption(path: Path, study: str) -> Markup:
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    known = SimpleNamespace(config={"study": study})
    try:
        text = environment.from_string(read_text(path, "git checkout")).render(snakemake=known)
    except TemplateError as error:
        raise UserError(f"{path}: cannot be rendered ({error}); a caption may use snakemake.config['study']") from None
    return html(" ".join(text.split()))
