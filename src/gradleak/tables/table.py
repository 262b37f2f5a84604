"""The presentation `table`: rows x columns of an experiment as tidy CSV and as LaTeX (booktabs)."""

import csv
import io
import math
from typing import ClassVar, Literal

from gradleak.tables.entries import Entry, TableSpec, number, table_entries
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.spec import Presentation, PresentationSpec
from gradleak.tables.table_latex import table_latex


class Table(Presentation):
    """Writes `<name>.csv` (one line per entry and metric) and `<name>.tex`."""

    Spec = TableSpec
    stage: ClassVar[Literal["tables", "figures"]] = "tables"
    endings = (".csv", ".tex")

    @classmethod
    def render(cls, spec: PresentationSpec, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Both files; raises UserError for an unknown column or a cell without results."""
        assert isinstance(spec, TableSpec)
        entries = table_entries(spec, experiment, data)
        return {
            ".csv": _csv(spec, entries).encode(),
            ".tex": table_latex(spec, experiment, data.study, entries).encode(),
        }


def _csv(spec: TableSpec, entries: list[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = [*spec.rows, "column", "metric"]
    named = ["published_as"] if spec.published_as else []
    writer.writerow([*head, "value", "std", "trials", "published", "difference", *named])
    for entry in entries:
        value, std, paper = (number(entry[key]) for key in ("value", "std", "published"))
        numbers = [_fixed(value), _fixed(std), entry["trials"], _fixed(paper), _fixed(value - paper)]
        writer.writerow([*(entry[key] for key in head), *numbers, *(entry[key] for key in named)])
    return text.getvalue()


def _fixed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"
