"""A user's network: imported, read as TorchScript or built by name, with the weights of a checkpoint."""

import hashlib
import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gradleak.audit.spec import Checkpoint, ModelSource
from gradleak.errors import UserError
from gradleak.models.base import MODELS, without_inplace


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Make modules in a folder importable, before others of their name, while it is open."""
    sys.path.insert(0, str(folder.resolve()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def open_network(source: ModelSource, checkpoint: Checkpoint, classes: int, resolution: int, seed: int) -> nn.Module:
    """The network of a checkpoint, in float32 and evaluation mode. Random initialisation is drawn from `seed`.

    `classes` and `resolution` are for models of this package. A TorchScript archive holds code, which is run when the
    model is called: read only those that you trust. Raises UserError where something is missing or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if source.torchscript is not None:
            network: nn.Module = _read_script(source.torchscript)
        elif source.factory is not None:
            network = _call(source)
        else:
            network = _registered(source, classes, resolution)
    if checkpoint.weights is not None:
        weights = read_weights(checkpoint.weights, source.torchscript is not None)
        if source.name is not None:  # a checkpoint of this package holds the normalisation beside the network
            weights = {k.removeprefix("network."): v for k, v in weights.items() if not k.startswith("normalise.")}
        load_weights(network, weights, str(checkpoint.weights))
    return network.float().eval()


def read_weights(path: Path, script: bool) -> Mapping[str, Tensor]:
    """Weights by name from safetensors or, where the model is one (`script`), from another TorchScript file.

    Raises UserError for anything else: a pickle, as `torch.save` writes it, may run code when it is read.
    """
    if path.suffix != ".safetensors":
        if script:
            return _read_script(path).state_dict()
        raise UserError(
            f"{path}: weights must be .safetensors; a pickle can run code when it is read. Convert a file that you "
            "trust: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there are no such weights") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from None


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a network. Raises UserError that names the first parameter or buffer that does not fit."""
    own = network.state_dict()
    for name, value in own.items():
        if name not in weights:
            raise UserError(f"{where}: has no '{name}', which the model has")
        if weights[name].shape != value.shape:
            found, wanted = tuple(weights[name].shape), tuple(value.shape)
            raise UserError(f"{where}: '{name}' has the shape {found}, but the model's has {wanted}")
    unknown = next((name for name in weights if name not in own), None)
    if unknown is not None:
        raise UserError(f"{where}: has '{unknown}', which the model does not have")
    network.load_state_dict(dict(weights))


def weights_digest(network: nn.Module) -> str:
    """Hash of all parameters and buffers: names, shapes, values (16 hexadecimal digits)."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read_script(path: Path) -> torch.jit.ScriptModule:
    if not path.is_file():
        raise UserError(f"{path}: there is no such TorchScript file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not TorchScript, as torch.jit.save writes it ({reason[:120]})") from None


def _call(source: ModelSource) -> nn.Module:
    """What the user's factory returns. Errors inside the user's own code keep their traceback."""
    assert source.factory is not None
    name, _, attribute = source.factory.partition(":")
    try:
        factory: object = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"model.import: no module '{error.name}' beside the audit's file, nor on Python's path (for '{name}')"
        ) from None
    for part in attribute.split("."):
        if not hasattr(factory, part):
            raise UserError(f"model.import: module '{name}' has no '{attribute}'")
        factory = getattr(factory, part)
    if not callable(factory):
        raise UserError(f"model.import: '{source.factory}' is no class or function")
    try:
        network = factory(**source.options)
    except TypeError as error:
        raise UserError(f"model.import: '{source.factory}' with options {source.options} fails ({error})") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"model.import: '{source.factory}' returns {type(network).__name__}, not a torch.nn.Module")
    return without_inplace(network)


def _registered(source: ModelSource, classes: int, resolution: int) -> nn.Module:
    factory = MODELS[str(source.name)]
    try:
        network = factory(num_classes=classes, resolution=resolution, width=source.width, **source.options)
    except TypeError as error:
        raise UserError(f"model.options: {source.options} do not fit model '{source.name}' ({error})") from None
    return without_inplace(network)
