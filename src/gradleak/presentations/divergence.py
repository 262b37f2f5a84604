"""What is said of entries whose client diverged in its local steps: a mark, and one sentence."""

from collections.abc import Iterable

import pandas as pd

from gradleak.analysis.experiment import Experiment
from gradleak.analysis.summary import DIVERGED, attacked, diverged

#: Stands behind a number whose client diverged.
DAGGER = "$^{\\dagger}$"

_WHAT = "the client's local training diverged"

_HOW = "(its loss ended above its start or was not finite)."


def marked(cells: pd.DataFrame, results: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The cells (column `cell_id`) with a column `DIVERGED`, true or false, if the client of any of them diverged."""
    found = cells["cell_id"].isin(diverged(results, experiment))
    return cells.assign(**{DIVERGED: found}) if found.any() else cells


def explained(mark: str, counts: Iterable[float], trials: int = 1) -> str:
    """What a mark says. Empty where nothing has it.

    counts: how many trials of each entry diverged. trials: the most that an entry has.
    """
    where = " in at least one trial" if trials > 1 else ""
    return f"{mark}: {_WHAT}{where} {_HOW}" if any(counts) else ""


def counted(results: pd.DataFrame, experiment: Experiment) -> str:
    """In how many trials the client diverged, where no entry has a mark. Empty for none."""
    found = diverged(results, experiment)
    if not found:
        return ""
    return f"In {len(found)} of {attacked(results, experiment).cells['cell_id'].nunique()} trials {_WHAT} {_HOW}"
