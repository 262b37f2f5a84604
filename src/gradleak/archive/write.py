"""Writing an archive: what of a finished run is kept, without images and without paths of the machine."""

import dataclasses
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradleak.archive.manifest import MANIFEST, PLAN, PROVENANCE, RESULTS, manifest_text
from gradleak.archive.provenance import gather
from gradleak.archive.union import join_archives
from gradleak.archive.victims import victim_checksums
from gradleak.config import Config
from gradleak.data.base import DEFAULT_CACHE
from gradleak.errors import UserError
from gradleak.files import write_files
from gradleak.plan import Plan
from gradleak.stages.tables import read_parquet


def write_archive(run: Path, out: Path) -> list[Path]:
    """Archive a finished run's folder `results/<study>`: plan, results, provenance, and their manifest.

    No image is archived, neither victims nor reconstructions, only victims' checksums. Of archives that the run
    reuses, what belongs to the reused cells becomes part of this one. Raises UserError if the run is not finished, a
    cell of the plan has no rows, both folders are the same, or a reused archive has changed since the run was planned.
    """
    if run.resolve() == out.resolve():
        raise UserError(f"{out}: is the run's own folder; archive it into another")
    plan = Plan.read(run / PLAN)
    results = read_parquet(run / RESULTS)
    if set(results["cell_id"]) != plan.cells.keys():
        raise UserError(f"{run / RESULTS}: does not hold the cells of {PLAN}; run the study to its end")
    victims = victim_checksums(plan.cells.values(), _pictures(run / "images.parquet")) if plan.batches else []
    joined, provenance = join_archives(plan, gather(plan, run, len(results), victims))
    published = dataclasses.replace(joined, config=_without_paths(joined.config, plan.study))
    contents = {
        PLAN: published.text().encode(),
        RESULTS: (run / RESULTS).read_bytes(),
        PROVENANCE: provenance.text().encode(),
    }
    # The manifest comes last: what is half written does not fit it.
    return write_files(out, contents | {MANIFEST: manifest_text(contents).encode()})


def _pictures(path: Path) -> pd.DataFrame:
    try:
        return pq.read_table(path, columns=["cell_id", "image", "truth_png"]).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from None


def _without_paths(config: Config, study: str) -> Config:
    data = {name: source.model_copy(update={"path": None}) for name, source in config.data.items()}
    return config.model_copy(update={"study": study, "cache": DEFAULT_CACHE, "data": data})
