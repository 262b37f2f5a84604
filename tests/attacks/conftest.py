"""Photographs for the tests of attacks."""

import pytest
from attack_cases import share

from gradleak.data.opening import open_dataset


@pytest.fixture(scope="session")
def photos():
    return open_dataset("photos10", 16, {})


@pytest.fixture(scope="module")
def updates(photos):
    """Two updates of two images each."""
    return [share(photos, [1, 2]), share(photos, [8, 4])]
