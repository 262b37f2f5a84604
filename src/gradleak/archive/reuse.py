"""What archives offer to a study that reuses their cells."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradleak.archive.provenance import Provenance
from gradleak.errors import UserError
from gradleak.files import sha256
from gradleak.study.config import Config
from gradleak.study.reused import MANIFEST, PLAN, PROVENANCE, RESULTS, Reused, check_manifest
from gradleak.study.shape import read_plan


def open_archives(config: Config) -> list[Reused]:
    """All cells that each archive of the config's `reuse` has results of.

    Raises UserError for a folder that is no archive or is damaged, and for one whose cells were computed with other
    threads or another precision: a study has one of each.
    """
    return [_open(folder, config) for folder in config.reuse]


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
