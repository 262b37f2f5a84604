"""What counts as rounding: it differs from run to run with the memory that a matrix lies in, so no file shows it."""

import pandas as pd

ROUNDING = 1e-10
"""Relative differences below this are rounding errors of float64 here; the tests bound those that occur."""


def settled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with 0 for every number that is nearer to 0 than `ROUNDING`."""
    numbers = frame.select_dtypes("float")
    return frame.assign(**numbers.mask(numbers.abs() < ROUNDING, 0.0))
