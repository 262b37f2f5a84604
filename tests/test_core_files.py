"""Files that appear whole or not at all, and their provenance."""

import json
import os
import time

import pytest

from gradleak.files import atomic, sha256, write_provenance, write_text


def test_a_file_appears_only_when_its_content_is_complete(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "before")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_written_files_are_readable_by_others(tmp_path):
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_provenance_lies_beside_the_file_and_names_its_content(tmp_path):
    path = tmp_path / "a.parquet"
    write_text(path, "content")
    write_provenance(path, time.time(), batch="b1")
    found = json.loads((tmp_path / "a.parquet.provenance.json").read_text())
    assert found["file"] == "a.parquet"
    assert found["sha256"] == sha256(path) == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert found["batch"] == "b1"
    assert {"seconds", "finished", "host", "platform", "python", "versions", "commit"} <= set(found)
    assert {"gradleak", "torch"} <= set(found["versions"])
