"""Weights as training programs save them: read without running code, and fitted to a network name by name."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradleak.errors import UserError, listed
from gradleak.files import check_regular

#: Parts of names that come from what is put around a network: data parallelism, compilation, privacy engines, trainers.
WRAPPERS = frozenset(
    ["module", "_module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "model", "network", "net"]
)
#: Where a checkpoint of more than weights has them, the most telling name first.
_ENTRIES = ("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "weights")
_COUNTER = "num_batches_tracked"
_CONVERT = "save the weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"


@dataclass(frozen=True)
class Weights:
    """Tensors by name, where they are from, and a line for each thing that was decided while they were read."""

    tensors: Mapping[str, Tensor]
    where: str
    notes: tuple[str, ...] = ()


def read_weights(path: Path) -> Weights:
    """Read safetensors, or tensors out of a file that `torch.save` wrote, with a state dict alone or as an entry.

    Code in a pickle is never run. Raises UserError for a file that holds anything but weights.
    """
    check_regular(path)
    return _safetensors(path) if path.suffix.lower() == ".safetensors" else _pickled(path)


def is_script(path: Path) -> bool:
    """Whether a file is a TorchScript archive, by the code in it. Raises UserError where it cannot be read."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def load_weights(network: nn.Module, weights: Weights) -> tuple[str, ...]:
    """Put weights into a network. Returns a line for each thing that had to be decided.

    Names may have parts that wrappers add, on either side. Counters of batches may be missing, and of tensors that the
    network ties all but one. Raises UserError that names the first parameter or buffer that does not fit.
    """
    own = network.state_dict()
    tensors, notes = _named_alike(own, weights)
    for group in _tied(own):
        there = [name for name in group if name in tensors]
        if any(not torch.equal(tensors[name], tensors[there[0]]) for name in there):
            raise UserError(f"{weights.where}: {listed(there)} differ, but the model has one tensor for them")
        tensors |= {name: tensors[there[0]] for name in group if there}
    missing = [name for name in own if name not in tensors and not name.endswith(_COUNTER)]
    if missing:
        raise UserError(f"{weights.where}: has no '{missing[0]}', which the model has{_of(missing, own)}")
    unknown = [name for name in tensors if name not in own]
    if unknown:
        raise UserError(f"{weights.where}: has '{unknown[0]}', which the model does not have{_of(unknown, tensors)}")
    wrong = [name for name, value in tensors.items() if not is_lazy(own[name]) and value.shape != own[name].shape]
    if wrong:
        found, wanted = tuple(tensors[wrong[0]].shape), tuple(own[wrong[0]].shape)
        raise UserError(
            f"{weights.where}: '{wrong[0]}' has the shape {found}, but the model's has {wanted}{_of(wrong, tensors)}"
        )
    for name, value in tensors.items():
        _check(name, value, own[name], weights.where)
    counters = {name: own[name] for name in own if name not in tensors}
    try:
        network.load_state_dict({**tensors, **counters})
    except RuntimeError as error:
        raise UserError(f"{weights.where}: does not fit the model ({str(error).split(chr(10))[-1].strip()})") from None
    return (*weights.notes, *notes)


def _safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            tied = stream.metadata() or {}
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({' '.join(str(error).split())[:160]})") from None
    # `save_model` writes one of tied tensors, and says under the other's name which one.
    tensors |= {name: tensors[other] for name, other in tied.items() if other in tensors and name not in tensors}
    return Weights(tensors, str(path))


def _pickled(path: Path) -> Weights:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Only what was found: the rest is advice to trust it.
        named = re.search(r"Unsupported \w+:? (?:GLOBAL )?[\w.]+", str(error))
        found = f" ({named[0]})" if named else ""
        raise UserError(
            f"{path}: holds more than tensors, and a pickle can run code when it is read{found}; {_CONVERT}"
        ) from None
    except Exception as error:  # a file of any kind: the reader raises whatever it stumbles over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as weights ({reason[:80]}); {_CONVERT}") from None
    if _is_state(content):
        return Weights(dict(content), str(path))
    states = {name: value for name, value in content.items() if _is_state(value)} if isinstance(content, dict) else {}
    entry = next((name for name in _ENTRIES if name in states), None)
    if entry is None and len(states) == 1:
        entry = next(iter(states))
    if entry is None:
        found = f"entries {listed(content)}" if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: holds no weights by name, or several ({found}); {_CONVERT}")
    return Weights(dict(states[entry]), str(path), (f"{path.name}: its entry '{entry}' is read",))


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def _named_alike(own: Mapping[str, Tensor], weights: Weights) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights under the network's names, which are compared without the parts that wrappers add where they differ."""
    tensors = dict(weights.tensors)
    if tensors.keys() <= own.keys():
        return tensors, ()
    plain = {_plain(name): name for name in own}
    renamed = {name: plain.get(_plain(name), name) for name in tensors}
    if len(plain) < len(own) or len(set(renamed.values())) < len(renamed):
        return tensors, ()
    changed = [(name, new) for name, new in renamed.items() if name != new]
    notes = []
    for name, new in changed[:1]:
        how = f"without '{name.removesuffix(new)}'" if name.endswith(new) else f"without wrappers ('{name}' as '{new}')"
        notes.append(f"{Path(weights.where).name}: {len(changed)} names are read {how}")
    return {renamed[name]: value for name, value in tensors.items()}, tuple(notes)


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _tied(own: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Groups of names under which a network has one tensor."""
    groups: dict[tuple[int, torch.Size], list[str]] = {}
    for name, value in own.items():
        if not is_lazy(value) and value.numel():
            groups.setdefault((value.data_ptr(), value.shape), []).append(name)
    return (names for names in groups.values() if len(names) > 1)


def _check(name: str, value: Tensor, own: Tensor, where: str) -> None:
    """Raise UserError for numbers that would not arrive as they are meant: quantised, complex, not finite."""
    kind = str(value.dtype).removeprefix("torch.")
    if value.layout != torch.strided or value.is_meta:
        raise UserError(f"{where}: '{name}' is sparse or without content; save it dense")
    if value.is_complex() or value.is_floating_point() != own.is_floating_point() or "float8" in kind:
        wanted = str(own.dtype).removeprefix("torch.")
        raise UserError(
            f"{where}: '{name}' holds {kind}, but the model's {wanted}; quantised weights are not those that clients "
            "train: save the model before it is quantised"
        )
    if value.is_floating_point() and not bool(value.isfinite().all()):
        count = int((~value.isfinite()).sum())
        raise UserError(
            f"{where}: '{name}' has {count} of {value.numel()} numbers that are not finite: take an earlier round"
        )


def _of(names: list[str], every: Mapping[str, Tensor]) -> str:
    return f" ({len(names)} of {len(every)} so)" if len(names) > 1 else ""
