"""Rounding of float64 in the experiments."""

import pandas as pd

ROUNDING = 1e-10
"""Relative differences below this are rounding errors of float64 here. The tests bound those that occur.

Rounding differs from run to run with the memory that a matrix lies in, so no file shows it.
"""


def settled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with 0 for every number that is nearer to 0 than `ROUNDING`."""
    numbers = frame.select_dtypes("float")
    return frame.assign(**numbers.mask(numbers.abs() < ROUNDING, 0.0))
