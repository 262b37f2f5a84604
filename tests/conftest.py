"""Fixtures that tests of several packages share."""

import os
from pathlib import Path

import pytest
import torch

from gradleak.errors import UserError
from gradleak.place import check_place

# As the pipeline's jobs: one thread each, so that results do not depend on the machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache() -> Path:
    """A cache folder that holds the LPIPS backbone; it is fetched once, with pip, where it is missing."""
    from gradleak.metrics.backbone import fetch_backbone

    repository = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("GRADLEAK_CACHE", repository / ".cache" / "gradleak"))
    fetch_backbone(folder)
    return folder


def pytest_configure() -> None:
    """Stop where the environment would test the code of another checkout than this one."""
    try:
        check_place(Path(__file__).resolve().parents[1])
    except UserError as error:
        pytest.exit(str(error), returncode=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait for processes of theirs come first, so that others run beside them."""
    waiting = ("slurm", "workflow")
    items.sort(key=lambda item: item.path.parent.name not in waiting)
