"""Files that appear whole or not at all, and their provenance."""

import json
import os
import resource
import threading
import time

import pandas as pd
import pytest
import torch

from gradleak.errors import UserError
from gradleak.files import atomic, sha256, write_files, write_provenance, write_text
from gradleak.parquet import write_parquet
from gradleak.resume import StateFile, own_folder
from gradleak.tensors import write_tensors

WRITERS = {
    "text": lambda path: write_text(path, "x" * 100_000),
    "files": lambda path: write_files(path.parent, {path.name: b"x" * 100_000}),
    "parquet": lambda path: write_parquet(pd.DataFrame({"a": [os.urandom(100_000)]}), path),
    "tensors": lambda path: write_tensors({"a": torch.rand(25_000)}, path),
}


def test_files_take_their_places_once_all_are_written(tmp_path):
    write_files(tmp_path, {"a": b"old", "b": b"old"})
    (tmp_path / "c").write_bytes(b"")
    with pytest.raises(UserError, match=r"c/d: cannot be written"):
        write_files(tmp_path, {"c/d": b"", "a": b"new", "b": b"new"})
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"old"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert write_files(tmp_path, {"a": b"new", "b": b"new"}) == [tmp_path / "a", tmp_path / "b"]
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"new"] * 2


def test_a_file_appears_only_when_its_content_is_complete(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert not list(path.parent.glob("*.txt"))  # what reads files by their ending does not see it
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


@pytest.fixture
def umask():
    """Return a function that sets the umask, which is put back afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0, 0o666, 0o777)])
def test_files_and_folders_have_the_rights_that_the_umask_leaves(tmp_path, umask, write, mask, file, folder):
    umask(mask)
    write(tmp_path / "deep/a")
    assert (tmp_path / "deep/a").stat().st_mode & 0o777 == file
    assert (tmp_path / "deep").stat().st_mode & 0o777 == folder
    (tmp_path / "deep/a").chmod(0o644)
    write(tmp_path / "deep/a")  # what lay there before does not count
    assert (tmp_path / "deep/a").stat().st_mode & 0o777 == file


def test_threads_that_write_one_file_leave_one_whole_file_and_the_umask(tmp_path, umask):
    umask(0o077)
    texts = [letter * 100_000 for letter in "abcd"]
    threads = [threading.Thread(target=write_text, args=(tmp_path / "a", text)) for text in texts for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in texts
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert umask(0o022) == 0o077


@pytest.fixture
def small_files():
    """No file may be longer than 10 kB: writing ends as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_where_a_file_does_not_fit_one_line_says_so_and_the_one_before_stays(tmp_path, small_files, write):
    path = tmp_path / "a"
    path.write_text("before")
    with pytest.raises(UserError) as caught:
        write(path)
    assert str(caught.value).startswith(f"{path}: cannot be written (File too large); ")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/a", "Not a directory|File exists"),
        ("file/b/a", "Not a directory"),
        ("n" * 300, "File name too long"),
        ("folder", "Is a directory"),
        ("nowhere/a", "File exists"),
        ("circle/a", "Too many levels of symbolic links|File exists"),
    ],
)
def test_a_path_that_cannot_be_is_one_line(tmp_path, write, name, reason):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "nowhere").symlink_to(tmp_path / "scratch/that/is/gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=rf"^{tmp_path / name}: cannot be written \(({reason})\); \S"):
        write(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


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


@pytest.mark.parametrize("metadata", [None, {"other": "x"}, {"gradleak": "{}"}])
def test_a_state_that_is_none_is_ignored(tmp_path, metadata):
    write_tensors({"a": torch.ones(2)}, tmp_path / "state", metadata)
    tensors = {"a": torch.zeros(2)}
    assert StateFile(tmp_path / "state", "same", 0.0).load(tensors) == 0
    assert tensors["a"].tolist() == [0, 0]


def test_states_of_other_code_or_settings_are_not_gone_on_from(tmp_path):
    folder = own_folder(tmp_path / "a.state", "code 1")
    (folder / "family").mkdir()
    assert own_folder(folder, "code 1") == folder
    assert (folder / "family").is_dir()
    own_folder(folder, "code 2")
    assert [path.name for path in folder.iterdir()] == ["identity"]

    tensors = {"x": torch.ones(3)}
    StateFile(folder / "x.safetensors", "attack", 0).save(tensors, 7)
    assert StateFile(folder / "x.safetensors", "attack", 0).load({"x": torch.zeros(3)}) == 7
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert StateFile(folder / "x.safetensors", "attack", 0).load({"x": torch.zeros(3)}) == 0
    finally:
        torch.set_num_threads(threads)
