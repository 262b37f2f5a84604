"""The page: everything that it shows, read from files, and rendered into one HTML text."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from gradleak.analysis.scale import scale
from gradleak.claims.verdict import counts
from gradleak.pipeline.stages import GROUPS
from gradleak.presentations.read import read_plan, read_table
from gradleak.presentations.write import has_pictures
from gradleak.report import published
from gradleak.report.claims import claim_rows, twice
from gradleak.report.entries import Entry, experiment_entry
from gradleak.report.extras import auxiliary_entries, first_noted, survey_entries, theory_entries
from gradleak.report.graph import draw, rules_of
from gradleak.report.provenance import read_provenance
from gradleak.report.run_times import duration, run_times
from gradleak.report.sections import SECTIONS, PaperSection, read_captions
from gradleak.report.tables import html


@dataclass(frozen=True)
class Folders:
    """The folders that a report reads: study (`results/<study>`), figures (`paper_figures/<study>`), others if any."""

    study: Path
    figures: Path
    theory: Path | None = None
    survey: Path | None = None
    captions: Path | None = None


def render(folders: Folders) -> str:
    """The page as text: equal files give equal text. Raises UserError that names the file which is missing or bad."""
    plan_path = folders.study / "plan.json"
    plan, experiments = read_plan(plan_path)
    results = read_table(folders.study / "results.parquet", ["cell_id", "iterations"])
    images = (folders.study / "images.parquet").exists()
    captions = read_captions(folders.captions, plan.study)
    notes = {name: str(content.get("note") or "") for name, content in plan.experiments.items()}
    shown = [
        experiment_entry(one, notes[name], folders.figures, results, has_pictures(one, images, plan.taken_over))
        for name, one in experiments.items()
    ]
    entries = [
        *first_noted(survey_entries(folders.survey) if folders.survey else [], captions["survey"]),
        *first_noted(theory_entries(folders.theory) if folders.theory else [], captions["theory"]),
        *shown,
        *first_noted(auxiliary_entries(plan, folders.figures, folders.study), captions["auxiliary"]),
    ]
    links = {name: entry.anchor for entry in entries for name in entry.reads}
    claims = claim_rows(folders.figures / "claims.csv", links)
    lines = published.read_lines(folders.figures / "published.csv")
    rates = published.rates_item(folders.figures)
    own = [folders.figures / name for name in ("claims.csv", "published.csv", "published_rates.csv")]
    made_of = [plan_path, folders.study / "results.parquet", *own, *(path for one in entries for path in one.shown)]
    times = run_times(folders.study)
    rules = rules_of(plan, experiments.values())
    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return (
        environment.get_template("report.html.jinja")
        .render(
            study=plan.study,
            title=html(plan.title),
            note=html(plan.note),
            scale=scale(results, list(dict.fromkeys(results["cell_id"]))),
            images=len(results),
            cells=len(plan.cells),
            experiments=len(experiments),
            claims=claims,
            counts=counts([row.verdict for row in claims]),
            twice=twice(claims),
            claims_of={entry.anchor: [row for row in claims if row.link == entry.anchor] for entry in entries},
            published=published.of_sources(lines, plan.study, links),
            rates=rates,
            sections=_by_section(entries),
            captions=captions,
            provenance=read_provenance(folders.study, plan, made_of),
            graph=draw(rules, {row.rule: duration(row.total) for row in times}),
            groups={name: text for name, text in GROUPS.items() if name in {rule.group for rule in rules}},
            times=times,
            total=sum(row.total for row in times),
            duration=duration,
            benchmarks=str(folders.study / "benchmarks"),
            # Files of the package; neither holds anything that ends its element.
            style=Markup(_text("report.css")),  # noqa: S704
            script=Markup(_text("report.js")),  # noqa: S704
        )
        .lstrip()  # the lines of the macros
    )


def _by_section(entries: Sequence[Entry]) -> list[tuple[PaperSection, list[Entry]]]:
    found = [(section, [entry for entry in entries if entry.section == section]) for section in SECTIONS]
    return [(section, own) for section, own in found if own]


def _text(name: str) -> str:
    return (files("gradleak.resources") / "report" / name).read_text(encoding="utf-8")
