"""Sample-level leakage rates (Appendix C.II of the paper): BRR and WSRR."""

import pandas as pd

TAU_PSNR = 18.0
"""PSNR in dB above which a reconstruction may leak."""
TAU_LPIPS = 0.1
"""LPIPS from which on the paper calls an image unrecognisable: the leak line of all tables, figures and claims."""


def leaked(psnr: pd.Series, lpips: pd.Series, tau1: float = TAU_PSNR, tau2: float = TAU_LPIPS) -> pd.Series:
    """Whether each reconstruction compromises privacy: PSNR > `tau1` (dB) and LPIPS < `tau2`. Booleans."""
    return (psnr > tau1) & (lpips < tau2)


def batch_reconstruction_rate(frame: pd.DataFrame, tau1: float = TAU_PSNR, tau2: float = TAU_LPIPS) -> pd.Series:
    """BRR of each cell: the share of its images that leak, averaged over restarts; by cell_id, 0 to 1.

    `frame` has one row per reconstruction with the columns cell_id, restart, image, psnr (dB) and lpips.
    Raises ValueError where a cell lacks an image in one of its restarts, has one twice, or has a value that
    is missing.
    """
    return _success(frame, tau1, tau2).groupby(level="cell_id").mean().rename("brr")


def worst_sample_reconstruction_rate(frame: pd.DataFrame, tau1: float = TAU_PSNR, tau2: float = TAU_LPIPS) -> pd.Series:
    """WSRR of each cell: the success rate, over restarts, of the image that leaks most often; by cell_id.

    Each image's success rate is its share of leaking reconstructions over the independent attack
    initialisations (restarts); WSRR is the highest of them. Columns and errors as for
    `batch_reconstruction_rate`.

    The paper defines WSRR in words, "the likelihood of reconstructing the most vulnerable sample", measured
    with 10 initialisations; this reading follows them, and its Table 5 agrees. For GIA-L at N = 100 it has
    BRR 0.10 % and WSRR 8.75 %: about one success in the 1,000 reconstructions of a batch (100 images x 10
    initialisations), which makes the best image's rate 1/10, or 0 in a batch without a success; averaged over
    batches, slightly below 10 %. "Any image of the batch leaks" in place of one fixed image fits that row as
    well, but names no sample.
    """
    success = _success(frame, tau1, tau2)
    return success.groupby(level=["cell_id", "image"]).mean().groupby(level="cell_id").max().rename("wsrr")


def _success(frame: pd.DataFrame, tau1: float, tau2: float) -> pd.Series:
    keys = ["cell_id", "restart", "image"]
    if frame[[*keys, "psnr", "lpips"]].isna().any(axis=None):
        raise ValueError("rates: a key or metric is missing (NaN); averages never run over survivors")
    repeated = frame.duplicated(keys)
    if repeated.any():
        raise ValueError(f"rates: {dict(frame.loc[repeated, keys].iloc[0])} appears more than once")
    by_cell = frame.groupby("cell_id")
    complete = by_cell["restart"].nunique() * by_cell["image"].nunique()
    short = complete[complete != by_cell.size()]
    if len(short):
        raise ValueError(f"rates: cell {short.index[0]} lacks an image in one of its restarts")
    success = leaked(frame["psnr"], frame["lpips"], tau1, tau2).astype("float64")
    return pd.Series(success.to_numpy(), index=pd.MultiIndex.from_frame(frame[keys]))
