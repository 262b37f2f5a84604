"""What every figure of numbers is made of beside its drawing: image files, the plotted numbers, caption phrases."""

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from gradleak.figures import style
from gradleak.tables.plan import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_files(figure: "Figure", name: str = "") -> dict[str, bytes]:
    """The figure as `<name>.pdf` and `<name>.png`."""
    return {f"{name}.pdf": style.file_bytes(figure, "pdf"), f"{name}.png": style.small_png(figure)}


def points_csv(keys: Sequence[str], numbers: Sequence[str], points: pd.DataFrame) -> bytes:
    """The plotted numbers as CSV: keys, `metric`, numbers with six decimals (empty for NaN), `trials`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "metric", *numbers, "trials"])
    for point in points.to_dict("records"):
        fixed = ["" if math.isnan(point[key]) else f"{point[key]:.6f}" for key in numbers]
        writer.writerow([*(point[key] for key in keys), point["metric"], *fixed, point["trials"]])
    return text.getvalue().encode()


def trials_text(points: pd.DataFrame) -> str:
    """How many trials a point has: `1 trial`, `4 trials`, `2 to 4 trials`."""
    least, most = int(points["trials"].min()), int(points["trials"].max())
    return f"{least if least == most else f'{least} to {most}'} trial{'' if most == 1 else 's'}"


def leak_text(metric: str, value: float | None) -> str:
    """What the dashed red line at a value of a metric says; empty for no line."""
    return "" if value is None else f"Dashed red line: below {metric} {value:g} a reconstruction is recognisable."


def caption(experiment: Experiment, study: str, sentences: Sequence[str]) -> bytes:
    """The experiment's title, the sentences that are not empty, and the study, as one paragraph."""
    parts = [f"{experiment.title.rstrip('.')}.", *sentences, f"All values come from study {study}."]
    return (" ".join(part for part in parts if part) + "\n").encode()
