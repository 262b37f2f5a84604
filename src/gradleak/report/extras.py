"""What the page shows beside a study's experiments: theory, survey, and what adversaries have learned."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gradleak.errors import UserError
from gradleak.presentations.base import in_words
from gradleak.report.entries import Entry, Item, figure_item
from gradleak.report.read import picture, read_csv, read_json
from gradleak.report.tables import NOTHING, Column, Field, HtmlTable, html, line_by_line
from gradleak.study.outline import Outline

# Stem of the figure, title, place in the paper, tables beside it.
_THEORY = (
    ("fig3", "Gradient, logit and input", "Figure 3, Sec. 4.1.1", ()),
    ("lemma41", "One step: the input in closed form", "Lemma 4.1, Sec. 4.1.1", ("lemma41_summary",)),
    ("theorem42", "Several steps", "Theorem 4.2, Sec. 4.1.1", ("theorem42_limits", "theorem42_summary")),
    (
        *("theorem43", "Different images with one gradient", "Theorem 4.3, Sec. 4.2.1"),
        ("theorem43_sizes", "theorem43_exceptions"),
    ),
)
_SURVEY = (
    ("fig1", "Attacks by year", "Figure 1, Sec. 1"),
    ("fig2", "Three aspects of federated learning", "Figure 2, Sec. 3"),
    ("fig8", "Two common structures of models", "Figure 8, Sec. 5.2.1"),
)
_TABLE7 = (
    *("reference", "name", "year", "trust", "capability", "goal", "assumptions", "strategy", "modality", "defenses"),
    "implemented_as",
)


def theory_entries(folder: Path) -> list[Entry]:
    """The lemma, the theorems and Figure 3. Raises UserError for a missing file."""
    entries = []
    for stem, title, paper, tables in _THEORY:
        files = tuple(f"{stem}{ending}" for ending in (".pdf", ".png", ".csv", ".txt"))
        drawn = figure_item(stem, folder, f"{paper}: {title}", "gradleak theory", "plot", files)
        # A point per inversion is too much to read; the summaries below hold what the caption speaks of.
        items = [replace(drawn, numbers=None) if tables else drawn, *(_csv(folder, name) for name in tables)]
        paths = tuple(folder / name for item in items for name in item.files if not name.endswith(".pdf"))
        reads = tuple(path.name for path in paths if path.suffix == ".csv")
        entries.append(Entry(f"theory-{stem}", html(title), paper, tuple(items), paths, reads=reads))
    return entries


def survey_entries(folder: Path) -> list[Entry]:
    """Figures 1, 2 and 8 and Table 7. Raises UserError for a missing file."""
    entries = []
    for stem, title, paper in _SURVEY:
        files = tuple(f"{stem}{ending}" for ending in (".pdf", ".png", ".txt"))
        item = figure_item(stem, folder, f"{paper}: {title}", "gradleak survey", "figure", files)
        paths = tuple(folder / name for name in files if not name.endswith(".pdf"))
        entries.append(Entry(f"survey-{stem}", html(title), paper, (item,), paths))
    paths = (folder / "table7.csv", folder / "table7_counts.csv")
    table = line_by_line(read_csv(paths[0], "gradleak survey", _TABLE7), only=_TABLE7)
    counts = line_by_line(read_csv(paths[1], "gradleak survey"))
    items = (
        Item("table", NOTHING, ("table7.csv", "table7.tex"), table=table),
        Item("counts", NOTHING, ("table7_counts.csv",), numbers=counts),
    )
    entries.append(Entry("survey-table7", html("Surveyed attacks"), "Table 7, Appx. C.VI", items, paths))
    return entries


def auxiliary_entries(plan: Outline, folder: Path, study: Path) -> list[Entry]:
    """A picture of every auxiliary model of a plan, with what was measured of it.

    Raises UserError where there is no picture, unless the study's folder holds no auxiliary models, as an archive's.
    """
    entries = []
    for key, config in plan.auxiliaries.items():
        data = config["dataset"]
        found = sorted(folder.glob(f"auxiliary_*_{key}.png"))
        if not found and not (study / "auxiliary").is_dir():
            continue
        if not found:
            raise UserError(f"{folder}/auxiliary_*_{key}.png: missing; run `gradleak pretrain show`")
        title = f"{config['name']} on {data['name']} at {data['resolution']} px"
        sheet = picture(found[0], f"What {title} makes", "gradleak pretrain show")
        measured = [read_json(path, "gradleak pretrain show") for path in sorted(study.glob(f"auxiliary/*_{key}.json"))]
        table = _quality(measured[0].get("quality", {})) if measured else None
        item = Item("samples", NOTHING, (found[0].name,), picture=sheet, numbers=table)
        entries.append(Entry(f"auxiliary-{key}", html(title), "Appx. B", (item,), (found[0],)))
    return entries


def first_noted(entries: list[Entry], note: Markup) -> list[Entry]:
    """The entries. The first has a note that holds for all."""
    return [replace(entry, note=NOTHING if i else note) for i, entry in enumerate(entries)]


def _csv(folder: Path, stem: str) -> Item:
    numbers = line_by_line(read_csv(folder / f"{stem}.csv", "gradleak theory"))
    kind = stem.partition("_")[2]
    return Item(kind, NOTHING, (f"{stem}.csv",), numbers=numbers)


def _quality(measured: Mapping[str, Any]) -> HtmlTable:
    rows = []
    for name, value in measured.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        text = f"{value:.4g}" if number else str(value)
        rows.append((Field(html(in_words(name))), Field(html(text), text if number else "", "number")))
    return HtmlTable((Column(html("Measured")), Column(html("Value"), numeric=True)), tuple(rows))
