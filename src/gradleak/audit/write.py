"""An audit from its file to its page."""

import time
import warnings
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from gradleak.audit.model import path_of
from gradleak.audit.page import page
from gradleak.audit.run import run_all
from gradleak.audit.source import check_import, importable
from gradleak.audit.spec import AuditSpec
from gradleak.audit.table import entries, verdicts
from gradleak.audit.words import verdict_words
from gradleak.engine.device import device_name, precision
from gradleak.files import write_files, write_provenance, write_text
from gradleak.parquet import write_parquet
from gradleak.stages.session import Session
from gradleak.study.config import Config


def write_audit(
    spec: AuditSpec, folder: Path, config: Config, out: Path, session: Session, allowed: Collection[str] = ()
) -> list[str]:
    """Run an audit and write its files to `out`. Returns a line per note and post-processing.

    `folder` is where the user's own modules lie, `allowed` names others that `model.import` may be from. `audit.html`
    is the page, `table.csv` its table, `audit.parquet` and
    `audit.csv` hold one row per reconstruction, `images.parquet` the pictures. Equal audits give equal bytes on one
    kind of device. What differs is in `audit.html.provenance.json`. See `run_all` for errors and for what is kept.
    """
    started = time.time()
    check_import(spec.model, folder, allowed)
    with importable(folder), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # of torch.func, about the user's model
        found = run_all(spec, config, out, session)
    table = entries(found.rows)
    judged = verdicts(spec, table, found.rows)
    write_parquet(found.rows, out / "audit.parquet")
    write_parquet(found.pictures, out / "images.parquet")
    frame = pd.DataFrame([asdict(entry) for entry in table])
    if not frame["unattacked"].any():
        frame = frame.drop(columns=["clients", "unattacked", "reasons"])
    csv = {"audit.csv": found.rows, "table.csv": frame}
    write_files(out, {name: frame.to_csv(index=False, lineterminator="\n").encode() for name, frame in csv.items()})
    write_text(out / "audit.html", page(spec, found, table, judged))
    write_provenance(
        out / "audit.html",
        started,
        audit=spec.model_dump(mode="json", by_alias=True),
        device=device_name(session.device),
        precision=precision(),
        data=found.fingerprint,
        notes=list(found.notes),
        weights={received.round: received.weights for received in found.received},
        engine={received.round: path_of(received.model) for received in found.received},
    )
    notes = [f"note: {note}" for note in found.notes]
    return [*notes, *(f"{verdict.defense}: {verdict.outcome}. {verdict_words(verdict)}" for verdict in judged)]
