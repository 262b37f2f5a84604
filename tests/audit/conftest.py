"""A folder with a user's model, and audits of it that take a second."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from audit_cases import MODEL, settings

from gradleak.audit.spec import AuditSpec
from gradleak.audit.write import write_audit
from gradleak.stages.session import Session
from gradleak.study.config import Config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with `own_net.py`, imported afresh."""
    (tmp_path / "own_net.py").write_text(MODEL)
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    yield tmp_path
    sys.modules.pop("own_net", None)


@pytest.fixture
def config(folder: Path, cache: Path) -> Path:
    """A config file on the CPU with the shared cache."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"device": "cpu", "cache": str(cache)}))
    return path


@pytest.fixture
def audited(folder: Path, cache: Path) -> Callable[..., pd.DataFrame]:
    """Run an audit with some keys changed; returns its rows."""

    def run(out: str = "out", **changes: Any) -> pd.DataFrame:
        spec = AuditSpec.model_validate(settings(**changes))
        count = lambda label, total: lambda iterations: None  # noqa: E731
        write_audit(spec, folder, Config(cache=cache, device="cpu"), folder / out, Session(progress=count))
        return pd.read_parquet(folder / out / "audit.parquet")

    return run
