"""The points of a `tradeoff` in numbers: LaTeX table and CSV, with the local-DP epsilon of each."""

import math
from typing import TYPE_CHECKING

import pandas as pd

from gradleak.tables import latex
from gradleak.tables.plan import Experiment
from gradleak.tables.quantities import quantity
from gradleak.tables.summary import unknown_column

if TYPE_CHECKING:
    from gradleak.figures.tradeoff import TradeoffSpec

EPSILON = "epsilon"
_NONE = "none"


def epsilons(results: pd.DataFrame, cells: pd.DataFrame, experiment: Experiment) -> pd.Series:
    """The epsilon of every cell's post-processing, NaN where it has none; raises UserError where there is no column."""
    if EPSILON not in results.columns:
        raise unknown_column(results, experiment, EPSILON)
    return cells["cell_id"].map(results.groupby("cell_id")[EPSILON].first()).astype(float)


def points_csv(points: pd.DataFrame) -> bytes:
    """All columns of the points; an epsilon that there is not is `none`."""
    shown = points.assign(**{EPSILON: [_NONE if math.isnan(value) else f"{value:.6g}" for value in points[EPSILON]]})
    return shown.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def points_tex(spec: "TradeoffSpec", points: pd.DataFrame, caption: str, name: str) -> str:
    """A table over pages, a line per point in the order of the plan; best points are bold."""
    measured = [spec.utility, spec.privacy]
    labels = [*spec.point, *spec.chooses, spec.round]
    numbers = [*measured, *([spec.size] if spec.size else []), EPSILON]
    titles = [spec.heading(key) for key in labels] + [quantity(key, spec).name for key in measured]
    titles += [spec.heading(spec.size)] if spec.size else []
    heading = latex.line([latex.escape(title) for title in titles] + [r"$\varepsilon$"])
    body = []
    for point in points.to_dict("records"):
        texts = [spec.shown(point[key]) for key in labels]
        texts += [quantity(key, spec).text(point[key]) for key in measured]
        texts += [f"{point[spec.size]:,.0f}"] if spec.size else []
        texts += [_NONE if math.isnan(point[EPSILON]) else f"{point[EPSILON]:.3g}"]
        cells = [latex.escape(text) for text in texts]
        body.append(latex.line([rf"\textbf{{{text}}}" for text in cells] if point["best"] else cells))
    return latex.long_frame(body, [heading], "l" * len(labels) + "r" * len(numbers), latex.escape(caption), name)
