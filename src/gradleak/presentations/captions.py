"""What the caption of everything that an experiment shows begins with."""

import pandas as pd

from gradleak.analysis.baseline import noise
from gradleak.analysis.experiment import Experiment


def titled(experiment: Experiment, results: pd.DataFrame) -> str:
    """The title and, where its baseline is not reconstructed, which part of it shows nothing, and why."""
    return f"{experiment.title.rstrip('.')}. {warning(experiment, results)}".rstrip()


def warning(experiment: Experiment, results: pd.DataFrame) -> str:
    """Which part of an experiment shows nothing, and why, as sentences. Empty where all baselines are reconstructed."""
    found = noise(results, experiment)
    said = str(found)
    if not said:
        return ""
    said = f"{said[0].upper()}{said[1:]}."
    return said if found.absent else f"{said} What is shown of it is noise, and no claim is judged by it."
