"""What archives offer to a study that reuses their cells."""

import math
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradleak.archive.provenance import Provenance
from gradleak.errors import UserError
from gradleak.files import sha256
from gradleak.parquet import read_parquet
from gradleak.study.config import Config
from gradleak.study.reused import MANIFEST, PLAN, PROVENANCE, RESULTS, Reused, check_manifest
from gradleak.study.shape import read_plan


def open_archives(config: Config) -> list[Reused]:
    """All cells that each archive of the config's `reuse` has results of.

    Raises UserError for a folder that is no archive or is damaged, and for one whose cells were computed with other
    threads or another precision: a study has one of each.
    """
    return [_open(folder, config) for folder in config.reuse]


def known_trials(archives: Iterable[Reused]) -> dict[str, float]:
    """The mean LPIPS of each cell that archives hold, from the first that has it; NaN for one that was not attacked.

    As a cell's value everywhere, it is the mean over the images of the restart that the objective chose.
    """
    found: dict[str, float] = {}
    for archive in archives:
        rows = read_parquet(Path(archive.archive) / RESULTS, ["cell_id", "chosen", "lpips"])
        chosen = rows[rows["chosen"].astype(bool)]
        means = chosen.groupby("cell_id")["lpips"].agg(lambda lpips: lpips.mean(skipna=False))
        found = {cell: float(means.get(cell, math.nan)) for cell in archive.cells} | found
    return found


def _open(folder: Path, config: Config) -> Reused:
    check_manifest(folder)
    read_plan(folder / PLAN)
    provenance = Provenance.read(folder / PROVENANCE)
    provenance.check_settings(config, ("threads", "precision"), folder)
    data = {name: dataset.fingerprint for name, dataset in provenance.data.items()}
    return Reused(str(folder), sha256(folder / MANIFEST), data, list(_cells(folder / RESULTS)))


def _cells(path: Path) -> Iterable[str]:
    try:
        return dict.fromkeys(pq.read_table(path, columns=["cell_id"])["cell_id"].to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet with the column 'cell_id' ({error})") from None
