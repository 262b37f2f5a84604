"""Pictures of a run that was computed again: an archive holds none, for not every data set may be passed on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gradleak.archive.read import Archive, Run
from gradleak.presentations import markup, style
from gradleak.presentations.base import Wording
from gradleak.presentations.gallery_layout import draw_panels
from gradleak.presentations.gallery_lines import Line, Panel
from gradleak.study.cell import Cell

#: Most images of a line, and most lines of reconstructions.
IMAGES, LINES = 8, 8

# Factors that may differ within a run, as the adversary does not know them or they are of the checkpoint.
_APART = (
    *("dataset_classes", "model_round", "model_init_seed", "client_samples", "client_steps", "client_batch_size"),
    *("client_lr", "client_optimizer", "client_momentum", "client_shuffle", "technique", "strength"),
)

_WORDING = Wording(
    headings={"client_samples": "$N$", "client_steps": "$U$", "client_batch_size": "$B$", "client_lr": "$\\eta$"}
)


def run_gallery(archive: Archive, run: Run, drawn: str, rows: pd.DataFrame, pictures: pd.DataFrame) -> dict[str, bytes]:
    """The gallery of a run, by the names of its files: `<drawn>.pdf`, `.png` and `.txt` (caption).

    drawn: id of the cell that was drawn, whose setting stands first, and whose labels are the title. rows, pictures: of
    the run as `gradleak score` writes them. A line for each setting: victims above their reconstructions, LPIPS and
    PSNR below these; the first images of its first trials, those of the drawn cell before all others.
    """
    settings = _settings(run.cells, drawn)
    scores = rows[rows["chosen"].astype(bool)].set_index(["cell_id", "position"])["psnr"]
    found = _keyed(pictures)
    lines: list[Line] = []
    for i, (name, cells) in enumerate(list(settings.items())[:LINES]):
        own = [found[cell.id, place] for cell in cells for place in range(len(cell.victims))][:IMAGES]
        truths: dict[object, bytes] = {column: entry["truth_png"] for column, entry in enumerate(own)}
        if not lines or truths != next(line.pictures for line in reversed(lines) if line.leads):
            lines.append(Line(2 * i, "Victim", truths, leads=True))
        shown: dict[object, bytes] = {column: entry["reconstruction_png"] for column, entry in enumerate(own)}
        below: dict[object, str] = {
            column: _score(entry, scores[entry["cell_id"], entry["position"]]) for column, entry in enumerate(own)
        }
        lines.append(Line(2 * i + 1, name or "Reconstruction", shown, below))
    columns: list[object] = [*range(max(len(line.pictures) for line in lines))]
    title = _title(archive, drawn)
    with style.theme():
        figure = draw_panels([Panel(title, columns, [str(1 + i) for i in range(len(columns))], lines)])
        files = style.image_files(figure, drawn)
    left = f" {len(settings) - LINES} more settings of the run are not shown." if len(settings) > LINES else ""
    caption = (
        f"{markup.sentence(title)} Cell {drawn} of study {archive.plan.study}, computed again, and what was attacked"
        " together with it. Victims above their reconstructions, LPIPS and PSNR below these. Images are chosen by their"
        f" place, not by how well they were reconstructed: at most {IMAGES} of each setting, those of the cell"
        f" first.{left}\n"
    )
    return files | {f"{drawn}.txt": caption.encode()}


def _keyed(pictures: pd.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
    entries = ({str(key): value for key, value in entry.items()} for entry in pictures.to_dict("records"))
    return {(entry["cell_id"], entry["position"]): entry for entry in entries}


def _score(entry: Mapping[str, Any], psnr: float) -> str:
    if math.isnan(psnr):
        return "not attacked"
    return f"{entry['lpips']:.4f}, {psnr:.1f} dB"


def _settings(cells: Sequence[Cell], drawn: str) -> dict[str, list[Cell]]:
    """The cells by the names of their settings, which say what differs; the drawn cell's first, its images first."""
    (chosen,) = [cell for cell in cells if cell.id == drawn]
    factors = {cell.id: cell.factors() for cell in cells}
    differ = [name for name in _APART if len({str(known.get(name)) for known in factors.values()}) > 1]
    found: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: (cell is not chosen, cell.victims != chosen.victims)):
        found.setdefault(_words((name, factors[cell.id].get(name)) for name in differ), []).append(cell)
    return found


def _title(archive: Archive, cell: str) -> str:
    """The first experiment that has the cell, with the cell's labels."""
    for name, content in archive.plan.experiments.items():
        for listed in content["cells"]:
            if listed["cell_id"] == cell:
                labels = _words(listed.get("labels", {}).items())
                return f"{name}: {labels}" if labels else name
    return cell


def _words(values: Iterable[tuple[str, Any]]) -> str:
    """`$U$ = 4, $\\eta$ = 0.1`; a value that is text stands by itself."""
    return ", ".join(_WORDING.named(name, value) for name, value in values if value is not None)
