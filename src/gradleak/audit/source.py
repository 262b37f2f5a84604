"""A user's network: imported, read as TorchScript or built by name, with the weights of a checkpoint."""

import hashlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradleak.audit.own_code import own_code
from gradleak.audit.spec import Checkpoint, ModelSource, Normalisation
from gradleak.audit.weights import Weights, is_script, load_weights, read_weights
from gradleak.compat import prepare_torchvision
from gradleak.errors import UserError
from gradleak.files import check_regular
from gradleak.models.base import MODELS, take_channels, without_inplace

# A partial of a model's class is one of Python's objects, and a model all the same.
_PYTHONS_OWN = sys.stdlib_module_names - {"functools", "__main__"}


def check_import(source: ModelSource, folder: Path, allowed: Collection[str]) -> None:
    """Raise UserError unless the module of `model.import` lies in a folder, or `allowed` names its package.

    An audit's file that somebody sends must not be able to call what the machine has, such as `os:system`. What lies in
    the folder is that somebody's code, which whoever audits has chosen to run. A name that Python has itself is never
    the folder's.
    """
    if source.factory is None:
        return
    module = source.factory.partition(":")[0]
    package = module.partition(".")[0]
    if module in allowed or package in allowed:
        return
    if package in sys.stdlib_module_names or not _lies_in(folder, package):
        raise UserError(
            f"model.import: '{module}' is no module beside the audit's file; if you trust it, "
            f"call `gradleak audit` with --allow-import {package}"
        )

    loaded = getattr(sys.modules.get(package), "__file__", None)
    if loaded is not None and not Path(loaded).resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"model.import: '{package}' beside the audit's file has the name of a package that is installed; rename it"
        )


def _lies_in(folder: Path, package: str) -> bool:
    """Whether a folder holds a module of this name itself, and not a link to one elsewhere."""
    inside = folder.resolve()
    found = [folder / f"{package}.py", folder / package / "__init__.py", folder / package]
    return any(path.exists() and path.resolve().is_relative_to(inside) for path in found)


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Make modules in a folder importable, before others of their name, while it is open."""
    sys.path.insert(0, str(folder.resolve()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


@dataclass(frozen=True)
class Opened:
    """A network with the weights of a checkpoint, in float32 and evaluation mode.

    `normalise` is that of a checkpoint of this package. `notes` say what was decided when the weights were read.
    """

    network: nn.Module
    normalise: Normalisation | None = None
    notes: tuple[str, ...] = ()


def open_network(source: ModelSource, checkpoint: Checkpoint, classes: int, resolution: int, seed: int) -> Opened:
    """The network of a checkpoint. Random initialisation is drawn from `seed`.

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
    path = checkpoint.weights
    normalise: Normalisation | None = None
    notes: tuple[str, ...] = ()
    if path is not None:
        scripted = source.torchscript is not None and is_script(path)
        weights = Weights(_read_script(path).state_dict(), str(path)) if scripted else read_weights(path)
        if source.name is not None:
            weights, normalise = _without_normalisation(weights)
        notes = load_weights(network, weights)
    lazy = next((name for name, value in network.named_parameters() if is_lazy(value)), None)
    if lazy is not None:
        raise UserError(f"model: '{lazy}' is lazy, without a shape; let the factory call the model once on an image")
    return Opened(network.float().eval(), normalise, notes)


def _without_normalisation(weights: Weights) -> tuple[Weights, Normalisation | None]:
    """A checkpoint of this package holds the normalisation beside the network."""
    found = {name: value for name, value in weights.tensors.items() if name.startswith("normalise.")}
    rest = {name: value for name, value in weights.tensors.items() if name not in found}
    if found.keys() != {"normalise.mean", "normalise.std"}:
        return replace(weights, tensors={**rest, **found}), None
    mean, std = (found[f"normalise.{name}"].flatten().tolist() for name in ("mean", "std"))
    rest = {name.removeprefix("network."): value for name, value in rest.items()}
    return replace(weights, tensors=rest), Normalisation.parse(
        {"mean": mean, "std": std}, f"{weights.where}: normalise"
    )


def weights_digest(network: nn.Module) -> str:
    """Hash of all parameters and buffers: names, shapes, values (16 hexadecimal digits)."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read_script(path: Path) -> torch.jit.ScriptModule:
    if not path.exists():
        raise UserError(f"{path}: there is no such TorchScript file")
    check_regular(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not TorchScript, as torch.jit.save writes it ({reason[:120]})") from None


def _call(source: ModelSource) -> nn.Module:
    """What the user's factory returns."""
    assert source.factory is not None
    name, _, attribute = source.factory.partition(":")
    prepare_torchvision()
    try:
        with own_code(f"model.import: importing '{name}' fails", ModuleNotFoundError):
            factory: object = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"model.import: no module '{error.name}' beside the audit's file, nor on Python's path (for '{name}')"
        ) from None
    for part in attribute.split("."):
        if not hasattr(factory, part):
            raise UserError(f"model.import: module '{name}' has no '{attribute}'")
        factory = getattr(factory, part)
        if inspect.ismodule(factory):
            raise UserError(f"model.import: '{attribute}' goes through another module; name its own class or function")
    if inspect.isbuiltin(factory) or str(getattr(factory, "__module__", "")).partition(".")[0] in _PYTHONS_OWN:
        raise UserError(f"model.import: '{source.factory}' is of Python itself; name a class or function of a model")
    if not callable(factory):
        raise UserError(f"model.import: '{source.factory}' is no class or function")
    with own_code(f"model.import: '{source.factory}' with options {dict(source.options)} fails"):
        network = factory(**source.options)
    if not isinstance(network, nn.Module):
        raise UserError(f"model.import: '{source.factory}' returns {type(network).__name__}, not a torch.nn.Module")
    if isinstance(network, nn.DataParallel):
        network = network.module
    return without_inplace(getattr(network, "_orig_mod", network))  # of torch.compile


def _registered(source: ModelSource, classes: int, resolution: int) -> nn.Module:
    factory = MODELS[str(source.name)]
    try:
        network = factory(num_classes=classes, resolution=resolution, width=source.width, **source.options)
    except TypeError as error:
        raise UserError(f"model.options: {source.options} do not fit model '{source.name}' ({error})") from None
    if source.channels != 3:
        take_channels(network, source.channels, str(source.name))
    return without_inplace(network)
