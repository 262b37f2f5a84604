"""A small study's folders, made once for all tests of the report."""

import pytest
from report_world import make_folders

from gradleak.report.page import Folders


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("report"))
