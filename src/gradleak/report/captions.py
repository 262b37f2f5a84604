"""The captions of `workflow/report`: the same that Snakemake's own report shows."""

from pathlib import Path
from types import SimpleNamespace

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from gradleak.errors import UserError
from gradleak.report.read import read_text
from gradleak.report.text import NOTHING, html

KINDS = ("table", "figure", "claims", "theory", "survey", "auxiliary")


def read_captions(folder: Path | None, study: str) -> dict[str, Markup]:
    """Caption of each of `KINDS`; empty without a folder. Raises UserError for a missing file or a bad template."""
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
